"""`KindCost`: how a kind of layer is mapped and counted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from rankfold.cost.keys import CostKey
from rankfold.mapping import MAPPINGS, ArraySpec, Mapping, map_layer
from rankfold.mapping.published import PublishedCount, published_count, published_window
from rankfold.plan.kinds import LayerKind, part_of
from rankfold.plan.layer import LayerPlan
from rankfold.workload import ConvShape


class AnyMapping(Protocol):
    """What a layer of any kind is on arrays: one stored matrix, or several that together are the layer, such
    as the two of a low-rank pair.
    """

    @property
    def method(self) -> str:
        """How it was mapped, such as `sdk`."""

    @property
    def array(self) -> ArraySpec:
        """The array it is mapped on."""

    @property
    def stages(self) -> tuple[Mapping, ...]:
        """The stored matrices, in the order in which they run."""

    @property
    def cycles(self) -> int:
        """Activations per image of all stages."""

    @property
    def conversions(self) -> int:
        """Columns converted by ADCs per image of all stages."""


Mapped = dict[CostKey, AnyMapping]


@dataclass(frozen=True)
class StoredShape:
    """A convolution that a layer of some kind stores, of which a plan may name the window.

    Attributes:
        shape: the convolution.
        support: (C_in, kh*kw) booleans, the kernel positions that it uses; None: all.
    """

    shape: ConvShape
    support: np.ndarray | None = None


class KindCost:
    """How layers of one kind are mapped and counted; the base is a layer that is stored as one dense matrix.

    Attributes:
        family: kinds of one family are compared with each other under the same names; empty: no names of its
            own.
        compared: the mappings that all layers of a network are compared under where one of the family is
            among them.
        own_mapping: how layers of this kind are laid out where nobody names a mapping; None: by the rule of
            `cost.choose_mapping`.
    """

    own_mapping: str | None = None
    # Empty: the dense mappings, which every layer is compared under, are all there is to compare.
    family: str = ""
    compared: tuple[str, ...] = MAPPINGS

    def shape(self, shape: ConvShape, kind: LayerKind) -> ConvShape:
        """The layer with the channels that it keeps."""
        return shape

    def mapping(
        self,
        shape: ConvShape,
        array: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> AnyMapping:
        """The mapping that a plan chose, with columns counted in weights.

        Args:
            shape: the convolution, as it was.
            array: R x C.
            entry: what the plan says of it.
            mask: (m, C_in/G, kh, kw) booleans, the weights that it keeps, where only its weights know.

        Raises:
            InputError: the mask is needed and missing, or the support is not known.
        """
        return map_layer(self.shape(shape, entry.kind), array, entry.mapping)

    def matrices(self, shape: ConvShape, kind: LayerKind) -> tuple[StoredShape, ...]:
        """What the layer stores, as many as its kind has `windows`; none where that is not known.

        Args:
            shape: the convolution, as it was.
            kind: what it becomes.
        """
        if kind.windows == 1:
            return (StoredShape(self.shape(shape, kind)),)
        return ()

    def has_published(self, shape: ConvShape, kind: LayerKind) -> bool:
        """Whether `published` can count a layer.

        Args:
            shape: the convolution, without padding; one that the reading counts.
            kind: what becomes of it.
        """
        return True

    def published(
        self,
        shape: ConvShape,
        array: ArraySpec,
        large: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> PublishedCount:
        """What the layer costs in the published reading (`cost.published`); the base maps it as ever.

        Args:
            shape: the convolution, without padding.
            array: R x C, columns counted in weights.
            large: the array that windows are found for.
            entry: what the plan says of it.
            mask: as in `mapping`.

        Raises:
            InputError: as `mapping`, or the layer has no such mapping on the plane without padding.
        """
        # The published code knows nothing of most kinds.
        mapping = self.mapping(shape, array, entry, mask)
        return PublishedCount(mapping.stages[0].window, mapping.cycles, mapping.conversions)

    def steered(
        self,
        shape: ConvShape,
        array: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> Mapping | None:
        """The mapping with ideal steering of inputs to columns, where the plan assumes that; else None."""
        return None

    def steered_cycles(
        self,
        shape: ConvShape,
        array: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> int | None:
        """The cycles of `steered`, found without making it."""
        return None

    def row_circuits(self, kind: LayerKind) -> tuple[str, ...]:
        """For each stored matrix, the circuits that choose its rows: one of `energy.STEERING`."""
        # Every row has an input of its own, so that no circuit has to choose one.
        return ("none",)

    def input_signs(self, kind: LayerKind, signed: bool | None) -> tuple[bool | None, ...]:
        """For each stored matrix, whether its inputs can be negative; None: not known.

        Args:
            kind: of the layer.
            signed: the same of the layer's inputs.
        """
        return (signed,) * len(self.row_circuits(kind))

    def comparisons(
        self,
        shape: ConvShape,
        array: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> Mapped:
        """The mappings that layers of this family are compared under, of a layer of this family."""
        return self.comparisons_of_other(shape, array, entry, mask)

    def comparisons_of_other(
        self,
        shape: ConvShape,
        array: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> Mapped:
        """The same of a layer of another family in the same network, so that the sums are of the whole
        network.
        """
        mapped: Mapped = {}
        for method in self.compared:
            mapped[CostKey(self.family, method)] = laid_out(shape, array, entry, mask, method)
        return mapped

    def parameters(self, shape: ConvShape, kind: LayerKind, mapping: AnyMapping) -> int:
        """Weights as stored, without bias."""
        # Unpacking says that there is one matrix: kinds with two count for themselves.
        (stage,) = mapping.stages
        # A mapping that drops weights says how many are left; else the whole shape is stored.
        if stage.weights is not None:
            return stage.weights
        return stage.shape.parameters

    def to_json(self, kind: LayerKind, parameters: int, stages: list[dict[str, Any]]) -> dict[str, Any]:
        """What `rankfold map --json` says of the kind beside the layer's shape and counts.

        Args:
            kind: of the layer.
            parameters: weights as stored.
            stages: the stored matrices.
        """
        return {"regions": stages[0]["regions"]}


class DenseCost(KindCost):
    """Layers that are stored as one dense matrix, whose count was published."""

    def published(
        self,
        shape: ConvShape,
        array: ArraySpec,
        large: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> PublishedCount:
        """By the published formula, with the channels that are left."""
        left = self.shape(shape, entry.kind)
        return published_count(left, array, published_window(left, large))


def cost_of(kind: LayerKind | type[LayerKind]) -> KindCost:
    """How a kind is mapped and counted.

    Raises:
        InputError: it is not registered.
    """
    return part_of(kind, "cost", KindCost)


def laid_out(
    shape: ConvShape,
    array: ArraySpec,
    entry: LayerPlan,
    mask: np.ndarray | None,
    method: str,
) -> AnyMapping:
    """What the plan makes of a layer, under another mapping than the one that it chose, if the layer has that
    one.
    """
    # A network's total under a mapping needs a count of every layer, also of those that lack it.
    if method not in entry.kind.mappings:
        method = entry.mapping
    return cost_of(entry.kind).mapping(shape, array, replace(entry, mapping=method), mask)


def needs_support(shape: ConvShape, entries: int) -> str:
    """The complaint about a layer whose kernel positions are not known yet."""
    positions = shape.kernel[0] * shape.kernel[1]
    return (
        f"layer {shape.name} keeps {entries} of {positions} kernel positions, which are chosen on data: its "
        "cycles are known for a finished run (rankfold compress), or for a plan that has the positions "
        "(support)"
    )
