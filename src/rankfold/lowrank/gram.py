"""Truncated SVDs of large matrices by their Gram matrices: faster, and within a proven tolerance.

Let B be a block (m, n) with m <= n (else its transpose is taken), s_1 >= ... >= s_m its singular values,
||B|| its Frobenius norm and u = 2^-53. The Gram matrix A = B B^T (m, m) has the eigenvalues s_i^2, and its
eigenvectors are the left singular vectors of B. To form it and to find them takes m^2 n + 9 m^3 steps,
against some 10 m^2 n + 20 m^3 of an SVD, and most of them in one product of matrices.

What is computed are the eigenvalues and orthonormal eigenvectors of A + E. The product of two matrices errs
by at most n u ||B||^2, and the eigensolver is backward stable, by at most c m u ||A||; so ||E||_2 <= d
||B||^2 with

    d = (n + c m) u,        c = 10 with room to spare.

*Factors.* Let U (m, r) be the computed vectors of the r largest eigenvalues. The factors are L = U S^(1/2)
and R = S^(-1/2) U^T B with S the norms of the rows of U^T B, so that L R = U U^T B: a projection of B
itself, whose error is ||B||^2 - tr(U^T A U) whatever U is. For every V (m, r) of orthonormal columns
|tr(V^T E V)| <= r d ||B||^2, and U maximises tr(V^T (A + E) V) among them (Ky Fan). With V the true
singular vectors,

    tr(U^T A U) >= tr(U^T (A + E) U) - r d ||B||^2
                >= tr(V^T (A + E) V) - r d ||B||^2  >=  tr(V^T A V) - 2 r d ||B||^2,

so the squared relative error is above that of the SVD by 2 r d at most.

*Errors alone.* Each eigenvalue moves by at most ||E||_2 (Weyl), so the sum of the m - r smallest, the
squared error, is known within m d ||B||^2.

Where these bounds are more than `TOLERANCE` of the squared error itself, as of weights that nearly have the
rank, nothing is returned, and the caller takes the SVD.
"""

from __future__ import annotations

import math

import numpy as np

LARGE = 1024  # the smaller side of a block from which the SVD takes minutes
UNIT = 2.0**-53
SOLVER = 10  # c
TOLERANCE = 1e-3  # of the squared error: its square root is then within 0.05 %


def is_large(blocks: np.ndarray) -> bool:
    """Whether blocks (..., m, n) are so large that their Gram matrices pay."""
    return min(blocks.shape[-2:]) >= LARGE


def truncate_by_gram(blocks: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Balanced factors (..., m, r) and (..., r, n) of all blocks (..., m, n), and the error over them.

    Returns:
        The factors and the relative Frobenius error; None where the tolerance does not hold.
    """
    *leading, m, n = blocks.shape
    left = np.empty((*leading, m, rank))
    right = np.empty((*leading, rank, n))
    lost = whole = bound = 0.0
    # One by one: all Gram matrices at once would take as much memory as the blocks again.
    for place in np.ndindex(*leading):
        block = blocks[place]
        size = float(np.sum(block**2))
        if m <= n:
            left[place], right[place], kept = _projected(block, rank)
        else:
            turned, over, kept = _projected(block.T, rank)
            left[place], right[place] = over.T, turned.T
        whole += size
        lost += size - kept
        bound += 2 * rank * _deviation(m, n) * size
    if lost <= 0 or bound > TOLERANCE * lost:
        return None
    return left, right, math.sqrt(lost / whole)


def lost_by_gram(blocks: np.ndarray, rank: int) -> float | None:
    """The relative Frobenius error of all blocks (..., m, n); None where the tolerance does not hold."""
    *leading, m, n = blocks.shape
    lost = whole = bound = 0.0
    for place in np.ndindex(*leading):
        block = blocks[place]
        if m > n:
            block = block.T
        values = np.linalg.eigvalsh(block @ block.T)  # rising
        size = float(np.sum(block**2))
        whole += size
        lost += float(np.sum(values[: len(values) - rank]))
        bound += len(values) * _deviation(m, n) * size
    if lost <= 0 or bound > TOLERANCE * lost:
        return None
    return math.sqrt(lost / whole)


def _projected(block: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Balanced factors of a block (m, n), m <= n, and the squared norm of what they keep."""
    _, vectors = np.linalg.eigh(block @ block.T)  # by rising eigenvalues
    u = vectors[:, : -rank - 1 : -1]  # (m, r), the largest first
    projected = u.T @ block  # (r, n)
    values = np.linalg.norm(projected, axis=1)  # (r,)
    # Of what is cut off elsewhere, a zero would be divided by; such a block does not pass the tolerance.
    root = np.sqrt(np.maximum(values, np.finfo(np.float64).tiny))
    return u * root, projected / root[:, None], float(np.sum(values**2))


def _deviation(m: int, n: int) -> float:
    """d: how far the computed eigenvalues may be from those of the block, relative to its squared norm."""
    return (max(m, n) + SOLVER * min(m, n)) * UNIT
