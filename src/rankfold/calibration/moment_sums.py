"""`MomentSums`: the moments of one layer's patches, gathered batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from rankfold.calibration.moments import PatchMoments, PixelMoments
from rankfold.calibration.patches import Cut, Layer, kernel_positions, patch_inputs, patches

CHUNK = 1 << 24  # values of patches unfolded at a time, 128 MiB in float64
WORK = 16 * 1152**2  # products n^2 spent on an image's patches: 1,024 patches of 144 inputs, 16 of 1,152
SIDE = 128  # of the blocks that a symmetric product is computed in
FEWEST = 16  # patches taken of an image, if it has them


@dataclass
class _Sums:
    """Sums over patches, by the names in `PatchMoments`, and how many patches they stand for."""

    totals: dict[str, Tensor] = field(default_factory=dict)
    patches: float = 0.0

    def add(self, name: str, part: Tensor) -> None:
        if name in self.totals:
            self.totals[name] += part  # in place: a total may take half a gigabyte
        else:
            self.totals[name] = part


Pixels = tuple[bool, ...]


@dataclass(frozen=True)
class PatchPart:
    """A part of each patch that is a patch of its own.

    Attributes:
        pixels: its pixels, as indices of the whole one's.
        inputs: its inputs, as indices of the whole one's n.
    """

    pixels: np.ndarray
    inputs: np.ndarray


class MomentSums:
    """The moments of one layer, summed up in float64 over the inputs that it is shown.

    Args:
        sampled: whether of an image with many patches of many inputs only some are taken, as neighbours
            tell much the same: at most 16 * 1152^2 / n^2 of them but never fewer than 16, at positions
            drawn anew for every image, the same ones for the same batches.
    """

    def __init__(self, *, sampled: bool = True) -> None:
        self._sampled = sampled
        self._count = 0
        self._sums: dict[Pixels, _Sums] = {}  # by the pixels that patches have; () where they have all

    @property
    def count(self) -> int:
        """Patches so far."""
        return self._count

    def add(
        self,
        layer: Layer,
        inputs: Tensor,
        dense_inputs: Tensor | None = None,
    ) -> None:
        """Add the moments of a batch, a few images at a time.

        Args:
            layer: the convolution or linear layer that reads them, or its shape; one weight may be read
                with several strides, dilations and paddings.
            inputs: (B, C_in, H, W) of a convolution, (..., C_in) of a linear layer.
            dense_inputs: what the same layer of the dense network reads at the same time; always or never
                given.
        """
        # A vector without a batch.
        if inputs.ndim == 1:
            inputs = inputs[None]
            if dense_inputs is not None:
                dense_inputs = dense_inputs[None]
        values = inputs[0].numel() * kernel_positions(layer)
        step = max(1, CHUNK // max(1, values))
        for start in range(0, len(inputs), step):
            stop = start + step
            columns = patches(layer, inputs[start:stop])  # (b, G, n, P)
            dense_columns = None
            if dense_inputs is not None:
                dense_columns = patches(layer, dense_inputs[start:stop])
            if not isinstance(layer, Cut) or layer.present is None:
                self._add((), columns, dense_columns)
                continue
            parts = layer.present(inputs)
            if len(parts) == 1:
                # All patches, in their order, as they are.
                self._add(tuple(parts[0][0].tolist()), columns, dense_columns)
                continue
            for pixels, positions in parts:
                where = positions.to(columns.device)
                of_dense = None
                if dense_columns is not None:
                    of_dense = dense_columns[..., where]
                self._add(tuple(pixels.tolist()), columns[..., where], of_dense)

    def _add(self, pixels: Pixels, columns: Tensor, dense_columns: Tensor | None) -> None:
        """Add patches (B, G, n, P) that have these pixels."""
        sums = self._sums.setdefault(pixels, _Sums())
        positions = self._positions(columns.shape)
        x = _gathered(columns, positions)  # (G, n, patches)
        self._count += x.shape[2]
        # Each sample stands for as many patches as there were to draw from, where it matters: patches of
        # other pixels are drawn by themselves.
        stands_for = 1.0
        if pixels and positions is not None:
            stands_for = columns.shape[3] * len(columns) / x.shape[2]
        sums.patches += stands_for * x.shape[2]
        weighted = x
        if stands_for != 1:
            weighted = x * stands_for
        sums.add("second", _squared(weighted, x))
        sums.add("mean", weighted.sum(dim=2))
        if dense_columns is not None:
            # The same positions: x0 and x belong together.
            dense = _gathered(dense_columns, positions)
            sums.add("cross", dense @ weighted.transpose(1, 2))
            sums.add("dense_mean", stands_for * dense.sum(dim=2))

    @staticmethod
    def taken(layer: Layer, positions: int) -> int:
        """How many of so many patches of an image are taken.

        Args:
            layer: says how many inputs they have.
            positions: patches of an image, of those that have the same pixels.
        """
        return min(positions, _most_patches(_groups(layer), patch_inputs(layer)))

    @classmethod
    def takes_all(cls, layer: Cut, inputs: Tensor) -> bool:
        """Whether all patches of a batch are taken, and no sample.

        Args:
            layer: says which patches those are, and which pixels they have.
            inputs: (B, C_in, H, W).
        """
        assert layer.present is not None  # patches of windows have pixels
        return all(
            cls.taken(layer, len(positions)) == len(positions) for _, positions in layer.present(inputs)
        )

    def of_parts(self, parts: Sequence[PatchPart]) -> MomentSums:
        """What the same inputs would have given of some parts of each patch, which are blocks of the sums.

        Parts that have no pixel are none. All patches must have been taken.
        """
        found = MomentSums(sampled=False)
        for pixels, sums in self._sums.items():
            for part in parts:
                there = tuple(pixels[pixel] for pixel in part.pixels)
                if not any(there):
                    continue
                own = found._sums.setdefault(there, _Sums())
                own.patches += sums.patches
                index = torch.from_numpy(part.inputs)
                for name, total in sums.totals.items():
                    block = total.index_select(1, index.to(total.device))
                    if total.ndim == 3:
                        block = block.index_select(2, index.to(total.device))
                    own.add(name, block)
        found._count = self._count * len(parts)
        return found

    def unnamed(self) -> MomentSums:
        """The same of patches of which it does not count which pixels they have."""
        found = MomentSums(sampled=False)
        for sums in self._sums.values():
            own = found._sums.setdefault((), _Sums())
            own.patches += sums.patches
            for name, total in sums.totals.items():
                own.add(name, total.clone())  # which is added to in place
        found._count = self._count
        return found

    @classmethod
    def joined(cls, several: Iterable[MomentSums]) -> MomentSums:
        """The sums of several together."""
        whole = cls(sampled=False)
        for one in several:
            whole._count += one._count
            for pixels, sums in one._sums.items():
                own = whole._sums.setdefault(pixels, _Sums())
                own.patches += sums.patches
                for name, total in sums.totals.items():
                    own.add(name, total.clone())  # which is added to in place
        return whole

    def moments(self) -> PatchMoments:
        """The averages over all patches; there must be some."""
        whole = self._averages(list(self._sums))
        # Pixels that are on the same patches share their moments.
        classes: dict[tuple[Pixels, ...], list[int]] = {}
        for pixel in range(max(map(len, self._sums))):
            having = tuple(present for present in self._sums if present[pixel])
            classes.setdefault(having, []).append(pixel)
        if len(classes) < 2:
            return whole
        every = sum(sums.patches for sums in self._sums.values())
        by_pixel = []
        for having, members in classes.items():
            pixels = np.isin(np.arange(len(having[0])), members)
            moments = whole
            if len(having) < len(self._sums):
                moments = self._averages(having)
            share = sum(self._sums[present].patches for present in having) / every
            by_pixel.append(PixelMoments(pixels, moments, share))
        return replace(whole, by_pixel=tuple(by_pixel))

    def _averages(self, parts: Sequence[Pixels]) -> PatchMoments:
        """The averages over the patches that have some sets of pixels."""
        count = sum(self._sums[part].patches for part in parts)
        averages: dict[str, np.ndarray] = {}
        for name, first in self._sums[parts[0]].totals.items():
            total = first
            for part in parts[1:]:
                total = total + self._sums[part].totals[name]
            average = total / count  # on the device, where it is fast
            averages[name] = average.cpu().numpy()
        return PatchMoments(
            averages["second"],
            averages["mean"],
            averages.get("cross"),
            averages.get("dense_mean"),
            patches=self._count,
        )

    def _positions(self, shape: torch.Size) -> Tensor | None:
        """(B, kept) positions of each image to gather, drawn without return; None: all of them."""
        if not self._sampled:
            return None
        images, groups, n, positions = shape
        kept = _most_patches(groups, n)
        if kept >= positions:
            return None
        # What was seen before is the seed, so that the same batches draw the same positions.
        draw = torch.Generator().manual_seed(self._count)
        # The first places of a random order are a draw without return.
        chances = torch.rand(images, positions, generator=draw)
        return chances.argsort(dim=1)[:, :kept]


def _groups(layer: Layer) -> int:
    if isinstance(layer, Cut):
        return layer.layer.groups
    if isinstance(layer, nn.Linear):
        return 1
    return layer.groups


def _most_patches(groups: int, n: int) -> int:
    """Patches of n inputs of each of G groups that are taken of an image."""
    # A patch costs n^2 products in each of G groups, so that WORK allows WORK / (G n^2) of them.
    inputs = groups * n
    allowed = WORK * groups // inputs**2
    return max(FEWEST, allowed)


def _squared(weighted: Tensor, x: Tensor) -> Tensor:
    """(G, n, n) weighted x^T, which is symmetric: of the blocks above its diagonal none is computed twice."""
    groups, n, _ = x.shape
    product = x.new_empty(groups, n, n)
    for start in range(0, n, SIDE):
        stop = min(start + SIDE, n)
        rows = weighted[:, start:stop] @ x[:, :stop].transpose(1, 2)
        product[:, start:stop, :stop] = rows
        product[:, :start, start:stop] = rows[:, :, :start].transpose(1, 2)
    return product


def _gathered(columns: Tensor, positions: Tensor | None) -> Tensor:
    """Patches (B, G, n, P), at some positions (B, kept) of each image, as (G, n, B*kept) in float64."""
    if positions is not None:
        _, groups, n, _ = columns.shape
        # All inputs of a patch are at one position.
        index = positions.to(columns.device)[:, None, None]
        index = index.expand(-1, groups, n, -1)  # (B, G, n, kept)
        columns = columns.gather(3, index)
    return columns.permute(1, 2, 0, 3).flatten(2).double()
