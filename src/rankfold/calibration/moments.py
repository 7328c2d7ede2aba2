"""`PatchMoments`: second moments of the patches that a convolution or linear layer reads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

CONSTANT = 1e-12  # share of an input's power up to which its variance is rounding
LARGEST_MOMENTS = 8192  # inputs of a layer up to which its moments are worth their memory: half a gigabyte


@dataclass(frozen=True)
class PatchMoments:
    """What data-aware decomposition needs of one layer's inputs.

    Those of a linear layer are vectors: G = kh = kw = 1.

    Attributes:
        second: (G, n, n) E[x x^T] of the patches of each group, n = C_in/G * kh * kw, ordered (channel, ky,
            kx).
        mean: (G, n) E[x].
        cross: (G, n, n) E[x0 x^T] with the patches x0 of the dense network, where x are those of a changed
            one; else None.
        dense_mean: (G, n) E[x0]; None where `cross` is.
        by_pixel: of layers that give several pixels for each patch, where some patches lack some of them:
            the moments of the patches that have each pixel. Empty where all have all.
        importance: (G, m'/G, m'/G) what errors of a patch's m' outputs count together, over all patches, see
            `calibration.importance`; None: all count alike.
        others: of layers that several matrices compute, each from patches of its own: those of the matrices
            behind the first one.
        patches: that were seen; None: nobody counted.
    """

    second: np.ndarray
    mean: np.ndarray
    cross: np.ndarray | None = None
    dense_mean: np.ndarray | None = None
    by_pixel: tuple[PixelMoments, ...] = ()
    importance: np.ndarray | None = None
    others: tuple[PatchMoments, ...] = ()
    patches: int | None = None

    @property
    def coverage(self) -> float | None:
        """Patches that were seen for each input that they have, the least of all matrices; below 1 no weight
        is determined by them alone. None: nobody counted.
        """
        shares = [one.patches / one.second.shape[1] for one in self.of_matrices if one.patches is not None]
        return min(shares, default=None)

    @property
    def of_matrices(self) -> tuple[PatchMoments, ...]:
        """Those of each matrix that computes the layer."""
        return replace(self, others=()), *self.others

    def weighed(self, importance: Sequence[np.ndarray] | None) -> PatchMoments:
        """The moments with what errors of outputs count, for each matrix that computes the layer; None: all
        count alike.
        """
        if importance is None:
            return self
        own, *rest = importance
        others = [replace(one, importance=each) for one, each in zip(self.others, rest, strict=True)]
        return replace(self, importance=own, others=tuple(others))

    def centred(self) -> PatchMoments:
        """The moments of x - E[x] and x0 - E[x0], for factors whose constant error is taken back."""
        by_pixel = tuple(replace(part, moments=part.moments.centred()) for part in self.by_pixel)
        others = tuple(other.centred() for other in self.others)
        centred = replace(self._centred(), by_pixel=by_pixel, importance=self.importance, others=others)
        return replace(centred, patches=self.patches)

    def _centred(self) -> PatchMoments:
        # E[(x - E[x]) (x - E[x])^T] = E[x x^T] - E[x] E[x]^T, row by row: there may be little memory left.
        second = np.empty_like(self.second)
        for group, mean in enumerate(self.mean):
            for row, value in enumerate(mean):
                np.multiply(mean, -value, out=second[group, row])
        second += self.second
        # Diagonals, (G, n).
        power = np.einsum("gii->gi", self.second)
        variance = np.einsum("gii->gi", second)
        # What is left of an input that never changes is rounding, of which no positive definite matrix
        # could be made.
        changing = variance > CONSTANT * power
        for of_group, changes in zip(second, changing, strict=True):
            of_group[~changes] = 0.0
            of_group[:, ~changes] = 0.0
        nothing = np.zeros_like(self.mean)  # the mean of what is centred
        if self.cross is None or self.dense_mean is None:
            return PatchMoments(second, nothing)
        cross = self.cross - _outer(self.dense_mean, self.mean)
        cross = np.where(changing[:, None], cross, 0.0)
        return PatchMoments(second, nothing, cross, nothing)


@dataclass(frozen=True)
class PixelMoments:
    """The moments of the patches that have some pixels of a layer which gives several for each patch.

    Attributes:
        pixels: (K,) booleans, which of the K pixels of a patch.
        moments: of these patches.
        share: of all patches, how many these are.
    """

    pixels: np.ndarray
    moments: PatchMoments
    share: float

    def outputs(self, count: int, groups: int) -> np.ndarray:
        """(m',) booleans, which of a patch's m' outputs these pixels are.

        Outputs are ordered by group, and within each by pixel, see `mapping.window_matrix.window_weight`.
        """
        each = count // (groups * len(self.pixels))
        return np.tile(np.repeat(self.pixels, each), groups)


def _outer(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(G, n) and (G, n) as (G, n, n), the products of all pairs."""
    return left[:, :, None] * right[:, None]


def few_patches_in_words(coverages: Mapping[str, float | None], images: int) -> str | None:
    """What to say of layers that so many images show fewer patches than they read inputs; None: of none.

    Args:
        coverages: of layers by name, see `PatchMoments.coverage`.
        images: how many there were.
    """
    short = {name: share for name, share in coverages.items() if share is not None and share < 1}
    if not short:
        return None
    least = min(short, key=lambda name: short[name])
    others = f" and {len(short) - 1} other layers" if len(short) > 1 else ""
    return (
        f"{images} images show layer {least}{others} fewer patches than they read inputs, so that a ridge "
        f"settles what the images do not; {math.ceil(images / short[least])} images would show enough"
    )
