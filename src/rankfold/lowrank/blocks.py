"""Low-rank blocks of one group's weight for its outputs on data: all that does not depend on the rank is done once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.linalg import eigh

from rankfold.lowrank.regression import Regression, factor, inverse_triangle

SWEEPS = 30
SETTLED = 5e-4  # relative gain of a sweep over all blocks, below which it stops


@dataclass(frozen=True)
class Block:
    """A block U B of a weight: `outputs` U (m, r), orthonormal, and `rows` B (r, n/g)."""

    outputs: np.ndarray
    rows: np.ndarray


def joined(blocks: Sequence[Block]) -> np.ndarray:
    """The weight (m, n) of all blocks."""
    return np.concatenate([block.outputs @ block.rows for block in blocks], axis=1)


@dataclass(frozen=True)
class BlockProblem:
    """Blocks of one group that keep its outputs, zero outside some columns T, of any rank; see `decompose_for_data`.

    Several blocks are whitened, block times C_i with S_ii = C_i C_i^T: the best of a block, with the others as they are, is then
    the plain truncation of (block + D S_:i S_ii^-1) C_i, and all that others need to know of it is B_i C_i S'_i:, of r rows.
    The first sweep takes it; later ones only turn towards it.

    Attributes:
        kept: (n,) booleans, the columns T.
        cuts: of the kept columns, those of each block.
        basis: (m, k) orthonormal, in whose span all blocks lie; None: anything.
        start: (m or k, |T|) the weight on T whose plain truncation the blocks start from.
        wanted: (m or k, |T|) the best weight on T.
        roots: C_i, lower triangles; none for one block, which is not whitened.
        inverses: C_i^-1.
        white: (|T|, |T|) S' = C^-1 S C^-T with all blocks' C.
        pull: wanted times white.
    """

    kept: np.ndarray
    cuts: tuple[slice, ...]
    basis: np.ndarray | None
    start: np.ndarray
    wanted: np.ndarray
    roots: tuple[np.ndarray, ...]
    inverses: tuple[np.ndarray, ...]
    white: np.ndarray
    pull: np.ndarray

    @classmethod
    def of(cls, problem: Regression, kept: np.ndarray, groups: int, target: np.ndarray | None = None) -> BlockProblem:
        """The problem of g equal blocks of the n columns, of which only the columns `kept`, (n,) booleans, may be used.

        Args:
            problem: of all columns.
            kept: T.
            groups: g.
            target: (m, |T|) `problem.target_on` T, where it is known already; not changed.

        Raises:
            InputError: the moments on the columns are singular.
        """
        if len(problem.dense) > len(kept):
            # More outputs than inputs: all that blocks can be lies in the span of the weight's columns, which is smaller.
            basis = np.linalg.qr(problem.dense)[0]
            inside = replace(problem, dense=basis.T @ problem.dense, target=basis.T @ problem.target)
            return replace(cls.of(inside, kept, groups, None if target is None else basis.T @ target), basis=basis)
        columns = np.flatnonzero(kept)
        target = problem.target_on(columns) if target is None else target
        moments = problem.moments[np.ix_(columns, columns)]
        ends = np.searchsorted(columns, np.arange(groups + 1) * (len(kept) // groups))
        cuts = tuple(slice(*pair) for pair in pairwise(ends))
        if groups == 1:
            return cls(kept, cuts, None, problem.dense[:, columns], target, (), (), moments, target @ moments)
        roots = tuple(factor(moments[cut, cut]) for cut in cuts)
        inverses = tuple(inverse_triangle(root) for root in roots)
        for i, cut in enumerate(cuts):
            moments[cut, cut] = np.eye(len(roots[i]))
            for j in range(i):
                moments[cut, cuts[j]] = inverses[i] @ moments[cut, cuts[j]] @ inverses[j].T
                moments[cuts[j], cut] = moments[cut, cuts[j]].T
        wanted = np.concatenate([target[:, cut] @ root for cut, root in zip(cuts, roots, strict=True)], axis=1)
        return cls(kept, cuts, None, problem.dense[:, columns], wanted, roots, inverses, moments, wanted @ moments)

    def in_float32(self) -> BlockProblem:
        """The same in float32 where it is whitened, which conditions it well: enough to compare candidates, in half the time."""
        if not self.roots:
            return self
        start, wanted, white, pull = (part.astype(np.float32) for part in (self.start, self.wanted, self.white, self.pull))
        roots, inverses = (tuple(part.astype(np.float32) for part in parts) for parts in (self.roots, self.inverses))
        return replace(self, start=start, wanted=wanted, roots=roots, inverses=inverses, white=white, pull=pull)

    def solve(self, rank: int, sweeps: int = SWEEPS) -> list[Block]:
        """The blocks of rank r: the best for one block, and otherwise what so many sweeps over all blocks find.

        After one sweep they are no worse than the plain truncation of each block, and no sweep makes them worse. It ends sooner
        when they are settled.
        """
        blocks = self._best(rank) if len(self.cuts) == 1 else self._in_turn(rank, sweeps)
        placed = []
        for block, there in zip(blocks, np.split(self.kept, len(self.cuts)), strict=True):
            rows = np.zeros((rank, len(there)), block.rows.dtype)
            rows[:, there] = block.rows
            placed.append(Block(block.outputs if self.basis is None else self.basis @ block.outputs, rows))
        return placed

    def _best(self, rank: int) -> list[Block]:
        outputs = _leading(self.pull @ self.wanted.T, rank)
        return [Block(outputs, outputs.T @ self.wanted)]

    def _in_turn(self, rank: int, sweeps: int) -> list[Block]:
        """Blocks U_i B_i that bring tr(D S D^T), D = target - [U_i B_i], down; at first U_i U_i^T start."""
        start = [self.start[:, cut] for cut in self.cuts]
        outputs = [_leading_outputs(block, rank) for block in start]
        rows = [u.T @ block @ root for u, block, root in zip(outputs, start, self.roots, strict=True)]
        seen = [b @ self.white[cut] for b, cut in zip(rows, self.cuts, strict=True)]  # (r, n) of each block
        gradient = self.pull - sum(u @ s for u, s in zip(outputs, seen, strict=True))  # D S, whitened
        before = math.inf
        for sweep in range(sweeps):
            for i, cut in enumerate(self.cuts):
                free = outputs[i] @ rows[i] + gradient[:, cut]
                gradient += outputs[i] @ seen[i]
                # What the others leave may lie where the plain truncation has nothing, and nothing turns towards it from there.
                outputs[i] = _towards_leading(free, outputs[i]) if sweep else _leading_outputs(free, rank)
                rows[i] = outputs[i].T @ free
                seen[i] = rows[i] @ self.white[cut]
                gradient -= outputs[i] @ seen[i]
            lost = self.wanted - np.concatenate([u @ b for u, b in zip(outputs, rows, strict=True)], axis=1)
            error = float(np.sum(lost * gradient))
            if before - error <= SETTLED * error:
                break
            before = error
        return [Block(u, b @ inverse) for u, b, inverse in zip(outputs, rows, self.inverses, strict=True)]


def _towards_leading(block: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Orthonormal (m, r) nearer to the leading left singular vectors of a block (m, n) than `outputs` U are.

    Two steps of orthogonal iteration (Golub & Van Loan, section 8.2), which never lower ||U^T block||_F. As the other blocks are
    about to change anyway, sweeps with the exact vectors bring no more on average, at several times the work.
    """
    for _ in range(2):
        outputs = np.linalg.qr(block @ (block.T @ outputs))[0]
    return outputs


def _leading_outputs(block: np.ndarray, rank: int) -> np.ndarray:
    """(m, r) leading left singular vectors of a block (m, n), by its smaller Gram matrix where that has as many."""
    if rank <= block.shape[1] < len(block):
        return np.linalg.qr(block @ _leading(block.T @ block, rank))[0]
    return _leading(block @ block.T, rank)


def _leading(gram: np.ndarray, rank: int) -> np.ndarray:
    """(m, r) eigenvectors of the largest eigenvalues of a symmetric (m, m): leading outputs, for A S A^T of a weight A."""
    return eigh(gram, subset_by_index=(len(gram) - rank, len(gram) - 1), check_finite=False)[1]
