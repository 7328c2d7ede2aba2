"""Low-rank blocks of a group's weight for its outputs on data; what does not depend on the rank is done once.

**One block.** tr((W - M) S (W - M)^T) over all M of rank r (W the target, S the moments) is least for M = U
U^T W, with the r leading left singular vectors U of W S^(1/2): the eigenvectors of W S W^T with the largest
eigenvalues (the reduced-rank regression of Izenman 1975).

**Several.** M = [M_1 ... M_g], with M_i = U_i B_i of rank r for the columns of block i. With D = W - M, and
with all other blocks as they are, a block F in place of M_i leaves the error

    constant + tr((F* - F) S_ii (F* - F)^T),   F* = M_i + D S_:i S_ii^-1,

as the derivative by block i is zero for F* (see `regression`). With S_ii = C_i C_i^T this is ||(F* - F)
C_i||_F^2, so that the best F C_i is the truncated singular value decomposition of F* C_i (Eckart & Young
1936). All blocks are kept whitened, M_i C_i, and S' = C^-1 S C^-T with C the block-diagonal of all C_i. Then
S'_ii = I and F* C_i = M_i C_i + G_:i, with the gradient G = D S' (D whitened). Each step is the best of its
block, so that no step makes the error, tr(D S' D^T) = sum of D * G, larger.

**What a step reads.** With P = W S' and the reach R_j = B_j S'_j:, r rows, of each block, a step needs of G
only the columns of its own block, G_:i = P_:i - sum_j U_j R_j:i. The term j = i is U_i B_i, whitened, as
S'_ii = I, which F* C_i has once more with the other sign: so F* C_i = P_:i - sum over all other blocks j of
U_j R_j:i, in one product. R_j is read by the steps of other blocks until block j changes: in the first sweep
the first R_j only by those before j, in the last sweep only by those after it; the rest is never computed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from scipy.linalg import eigh
from scipy.linalg.blas import dtrmm
from scipy.linalg.lapack import dgeqrf, dorgqr, sgeqrf, sorgqr

from rankfold.lowrank.regression import Regression, factor, inverse_triangle

SWEEPS = 30
BLOCK_SIZE = 64  # columns that LAPACK takes at once, where it is given the space
FEW = 1 / 6  # of all eigenvectors, up to which they are picked one by one
SETTLED = 5e-4  # relative gain of a sweep over all blocks, below which it stops

Matrices = list[np.ndarray]


@dataclass(frozen=True)
class Block:
    """A block U B of a weight: `outputs` U (m, r), orthonormal, and `rows` B (r, n/g)."""

    outputs: np.ndarray
    rows: np.ndarray


def joined(blocks: Sequence[Block]) -> np.ndarray:
    """The weight (m, n) of all blocks."""
    products = [block.outputs @ block.rows for block in blocks]
    return np.concatenate(products, axis=1)


@dataclass(frozen=True, kw_only=True)
class BlockProblem:
    """Blocks of one group, of any rank, that keep its outputs and are zero outside some columns T.

    Several blocks are whitened. The first sweep takes the best of each block, with the others as they are;
    later ones only turn towards it.

    Attributes:
        kept: (n,) booleans, the columns T.
        cuts: of the kept columns, those of each block.
        basis: (m, k) orthonormal, in whose span all blocks lie; None: anything.
        start: (m or k, |T|) the weight on T whose plain truncation the blocks start from.
        wanted: (m or k, |T|) the best weight on T.
        roots: C_i, lower triangles; none for one block, which is not whitened.
        inverses: C_i^-1.
        white: (|T|, |T|) S' = C^-1 S C^-T with all blocks' C; None for one block.
        pull: wanted times S', or times S of one block.
    """

    kept: np.ndarray
    cuts: tuple[slice, ...]
    basis: np.ndarray | None = None
    start: np.ndarray
    wanted: np.ndarray
    roots: tuple[np.ndarray, ...] = ()
    inverses: tuple[np.ndarray, ...] = ()
    white: np.ndarray | None = None
    pull: np.ndarray
    _started: Matrices = field(default_factory=list, init=False, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        problem: Regression,
        kept: np.ndarray,
        groups: int,
        target: np.ndarray | None = None,
        *,
        single: bool = False,
    ) -> BlockProblem:
        """The problem of g equal blocks of the n columns, of which only some may be used.

        Args:
            problem: of all columns.
            kept: (n,) booleans, T.
            groups: g.
            target: (m, |T|) `problem.target_on` T, where it is known already; not changed.
            single: whether it is `in_float32`, which then takes half the memory, too.

        Raises:
            InputError: the moments on the columns are singular.
        """
        if len(problem.dense) > len(kept):
            return cls._in_span(problem, kept, groups, target, single)
        columns = np.flatnonzero(kept)
        if target is None:
            target = problem.target_on(columns)
        start = problem.dense[:, columns]
        pull = problem.pull[:, columns]  # (m, |T|) W_T S_TT, as W_T is the best
        cuts = _cuts(columns, len(kept), groups)
        if groups == 1:
            return cls(kept=kept, cuts=cuts, start=start, wanted=target, pull=pull)
        parts = [columns[cut] for cut in cuts]
        roots = tuple(factor(problem.moments[np.ix_(own, own)], in_place=True) for own in parts)
        inverses = tuple(map(inverse_triangle, roots))
        precision = np.float32 if single else np.float64
        made = cls(
            kept=kept,
            cuts=cuts,
            start=start,
            wanted=_times_triangles(target, cuts, roots),
            roots=roots,
            inverses=inverses,
            white=_whitened(problem.moments, parts, inverses, precision),
            # W_T S C^-T = (W_T C) (C^-1 S C^-T).
            pull=_times_triangles(pull, cuts, [inverted.T for inverted in inverses]),
        )
        if single:
            return made.in_float32()
        return made

    @classmethod
    def _in_span(
        cls,
        problem: Regression,
        kept: np.ndarray,
        groups: int,
        target: np.ndarray | None,
        single: bool,
    ) -> BlockProblem:
        """The problem for more outputs than inputs: blocks lie in the span of the weight's columns.

        That is smaller. Arguments as of `of`.
        """
        basis, _ = np.linalg.qr(problem.dense)  # (m, n)
        inside = replace(
            problem,
            dense=basis.T @ problem.dense,
            target=basis.T @ problem.target,
        )
        if target is not None:
            target = basis.T @ target
        return replace(cls.of(inside, kept, groups, target, single=single), basis=basis)

    def in_float32(self) -> BlockProblem:
        """The same in float32 where it is whitened, which conditions it well.

        That is enough to compare candidates, in half the time.
        """
        if self.white is None:
            return self
        return replace(
            self,
            start=self.start.astype(np.float32),
            wanted=self.wanted.astype(np.float32),
            roots=tuple(root.astype(np.float32) for root in self.roots),
            inverses=tuple(inverse.astype(np.float32) for inverse in self.inverses),
            white=self.white.astype(np.float32, copy=False),
            pull=self.pull.astype(np.float32),
        )

    def solve(self, rank: int, sweeps: int = SWEEPS) -> list[Block]:
        """The blocks of rank r: the best for one block, otherwise what so many sweeps over all blocks find.

        After one sweep they are no worse than the plain truncation of each block, and no sweep makes them
        worse. It ends sooner when they are settled.
        """
        if len(self.cuts) == 1:
            blocks = [self._best(rank)]
        else:
            blocks = self._in_turn(rank, sweeps)
        kept_by_block = np.split(self.kept, len(self.cuts))
        placed = []
        for block, there in zip(blocks, kept_by_block, strict=True):
            placed.append(self._placed(block, there))
        return placed

    def _placed(self, block: Block, there: np.ndarray) -> Block:
        """A block of all columns, from one of those columns that are `there`, (n/g,) booleans."""
        outputs = block.outputs
        if self.basis is not None:
            outputs = self.basis @ outputs
        rank = len(block.rows)
        rows = np.zeros((rank, len(there)), block.rows.dtype)
        rows[:, there] = block.rows
        return Block(outputs, rows)

    def _best(self, rank: int) -> Block:
        # The leading ones for a rank begin with those for a smaller rank.
        if not self._started or self._started[0].shape[1] < rank:
            gram = self.pull @ self.wanted.T  # W S W^T
            self._started[:] = [leading_vectors(gram, rank)]
        outputs = self._started[0][:, :rank]
        return Block(outputs, outputs.T @ self.wanted)

    def _in_turn(self, rank: int, sweeps: int) -> list[Block]:
        """Blocks U_i B_i that bring tr(D S D^T), D = target - [U_i B_i], down; at first U_i U_i^T start."""
        outputs, rows = self._plain(rank)
        reach = _Reach(self, rank)
        for i, cut in enumerate(self.cuts):
            reach.put(i, outputs[i], rows[i], slice(0, cut.start))
        before = math.inf
        for sweep in range(sweeps):
            for i, cut in enumerate(self.cuts):
                free = reach.left(i)  # (m, n_i) F* C_i
                if sweep == 0:
                    # What the others leave may lie where the plain truncation has nothing, and nothing turns
                    # towards it from there.
                    outputs[i] = leading_outputs(free, rank)
                else:
                    outputs[i] = _towards_leading(free, outputs[i])
                rows[i] = outputs[i].T @ free
                from_column = cut.stop if sweep == sweeps - 1 else 0
                reach.put(i, outputs[i], rows[i], slice(from_column, None))
            if sweep == sweeps - 1:
                break
            lost = self.wanted - _side_by_side(outputs, rows)  # (m, n) D
            error = float(np.sum(lost * reach.gradient()))
            if before - error <= SETTLED * error:
                break
            before = error
        # From whitened rows to those of the weight.
        plain = map(np.matmul, rows, self.inverses)
        return list(map(Block, outputs, plain))

    def _plain(self, rank: int) -> tuple[Matrices, Matrices]:
        """U_i (m, r), and B_i (r, n_i) whitened, of the plain truncation of each block of the start."""
        blocks = [self.start[:, cut] for cut in self.cuts]
        # The leading ones for a rank begin with those for a smaller rank.
        if not self._started or self._started[0].shape[1] < rank:
            self._started[:] = [leading_outputs(block, rank) for block in blocks]
        outputs = []
        rows = []
        for block, root, started in zip(blocks, self.roots, self._started, strict=True):
            leading = started[:, :rank]
            outputs.append(leading)
            rows.append(leading.T @ block @ root)
        return outputs, rows


class _Reach:
    """U_j and R_j = B_j S'_j: of all blocks, as far as steps read them.

    Args:
        problem: of several blocks.
        rank: r.
    """

    def __init__(self, problem: BlockProblem, rank: int) -> None:
        assert problem.white is not None  # there are several blocks
        self._cuts, self._white, self._pull = problem.cuts, problem.white, problem.pull
        self._own = [slice(i * rank, (i + 1) * rank) for i in range(len(self._cuts))]
        ranks = rank * len(self._cuts)
        self._outputs = np.empty((len(self._pull), ranks), self._white.dtype)  # (m, g*r)
        self._reach = np.empty((ranks, len(self._white)), self._white.dtype)  # (g*r, n)

    def put(self, i: int, outputs: np.ndarray, rows: np.ndarray, read: slice) -> None:
        """Set U_i, and R_i on those columns that will be read."""
        self._outputs[:, self._own[i]] = outputs
        self._reach[self._own[i], read] = rows @ self._white[self._cuts[i], read]

    def left(self, i: int) -> np.ndarray:
        """(m, n_i) P_:i without what the other blocks give."""
        others = self._reach[:, self._cuts[i]].copy()
        others[self._own[i]] = 0.0
        return self._pull[:, self._cuts[i]] - self._outputs @ others

    def gradient(self) -> np.ndarray:
        """(m, n) G = D S'."""
        return self._pull - self._outputs @ self._reach


def _cuts(
    columns: np.ndarray,
    n: int,
    groups: int,
) -> tuple[slice, ...]:
    """Of some of n columns, given as ascending indices, those of each of g equal blocks."""
    borders = np.arange(groups + 1) * (n // groups)
    ends = np.searchsorted(columns, borders)
    cuts = []
    for first, last in pairwise(ends):
        cuts.append(slice(first, last))
    return tuple(cuts)


def _whitened(
    moments: np.ndarray,
    parts: Sequence[np.ndarray],
    inverses: Sequence[np.ndarray],
    kind: type,
) -> np.ndarray:
    """(|T|, |T|) C^-1 S C^-T in a type of numbers, computed block by block in that of S.

    Args:
        moments: (n, n) S.
        parts: the columns of each block, as indices.
        inverses: C_i^-1.
        kind: of the numbers.
    """
    ends = np.cumsum([0, *map(len, parts)])
    white = np.empty((ends[-1], ends[-1]), kind)
    for i, own in enumerate(parts):
        here = slice(ends[i], ends[i + 1])
        white[here, here] = np.eye(len(own))  # C_i^-1 S_ii C_i^-T
        for j, other in enumerate(parts[:i]):
            there = slice(ends[j], ends[j + 1])
            # Products with triangles take half the work of others; S_ij is turned, as BLAS has columns in a
            # row: (C_j^-1 S_ji) C_i^-T.
            turned = moments[np.ix_(own, other)].T
            turned = dtrmm(1.0, inverses[j], turned, lower=1, overwrite_b=1)
            turned = dtrmm(1.0, inverses[i], turned, side=1, lower=1, trans_a=1, overwrite_b=1)
            white[here, there] = turned.T
            # S' is symmetric, as S is.
            white[there, here] = turned
    return white


def _times_triangles(
    weight: np.ndarray,
    cuts: tuple[slice, ...],
    triangles: Sequence[np.ndarray],
) -> np.ndarray:
    """A weight (m, |T|) times the block-diagonal of triangles."""
    blocks = []
    for cut, triangle in zip(cuts, triangles, strict=True):
        blocks.append(weight[:, cut] @ triangle)
    return np.concatenate(blocks, axis=1)


def _side_by_side(outputs: Matrices, rows: Matrices) -> np.ndarray:
    """(m, n) [U_1 B_1 ... U_g B_g]."""
    products = list(map(np.matmul, outputs, rows))
    return np.concatenate(products, axis=1)


def _towards_leading(block: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Orthonormal (m, r) nearer to the leading left singular vectors of a block (m, n) than `outputs` U are.

    Two steps of orthogonal iteration (Golub & Van Loan, section 8.2), which never lower ||U^T block||_F. As
    the other blocks are about to change anyway, sweeps with the exact vectors bring no more on average, at
    several times the work.
    """
    for _ in range(2):
        rows = block.T @ outputs  # (n, r)
        outputs = _orthonormal(block @ rows)
    return outputs


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    """Q (m, k) of the reduced QR decomposition of some columns (m, r), k the smaller of m and r."""
    # The routines that `np.linalg.qr` calls, with the same results; what it does beside takes several times
    # as long for small columns, and they are taken thousands of times.
    reflect, multiply = dgeqrf, dorgqr
    if columns.dtype == np.float32:
        reflect, multiply = sgeqrf, sorgqr
    work = max(1, BLOCK_SIZE * columns.shape[1])
    reflectors, factors, _, _ = reflect(columns, lwork=work)
    made, _, _ = multiply(reflectors[:, : len(factors)], factors, lwork=work)
    return made


def leading_outputs(block: np.ndarray, rank: int) -> np.ndarray:
    """(m, r) leading left singular vectors of a block (m, n), by its smaller Gram matrix if possible."""
    if rank <= block.shape[1] < len(block):
        right = leading_vectors(block.T @ block, rank)  # (n, r) leading right singular vectors
        # The largest first, so that they do not lean on small ones, which are less exact.
        return _orthonormal(block @ right)
    return leading_vectors(block @ block.T, rank)


def leading_vectors(gram: np.ndarray, rank: int) -> np.ndarray:
    """(m, r) eigenvectors of a symmetric (m, m) with the largest eigenvalues, by falling eigenvalues."""
    size = len(gram)
    if rank > FEW * size:
        # Dividing finds all of them in less time than it takes to pick so many.
        _, vectors = eigh(gram, driver="evd", check_finite=False)
    else:
        _, vectors = eigh(gram, subset_by_index=(size - rank, size - 1), check_finite=False)
    return np.ascontiguousarray(vectors[:, : -rank - 1 : -1])
