"""`Method`, the base of all methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rankfold.mapping import ArraySpec
from rankfold.plan.kinds import LayerKind
from rankfold.plan.methods.setting import Setting
from rankfold.plan.rules import LayerRule
from rankfold.workload import ConvShape, Network


@dataclass(frozen=True)
class Method(ABC):
    """One setting for all layers; the base of all methods.

    Attributes:
        name: what `--method` calls it.
        title: what tables call it, as papers spell it.
        help: what it does, in a few words, for the command line.
        settings: what users choose of it.
        flags: which of `pointwise`, `linear`, `fit`, `force_low_rank`, `rules` and `steering` on the command
            line it follows.
        kinds: what it makes of layers, beside dense ones.
        maker: `module:attribute` of a function (model, network, array, method, *, bits) that makes its plan,
            where that takes the network's weights; empty: `uniform_plan` makes it.
        in_grids_alone: whether it takes weights and images, and so is no choice of the command line.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    help: ClassVar[str] = ""
    settings: ClassVar[tuple[Setting, ...]] = ()
    flags: ClassVar[tuple[str, ...]] = ()
    kinds: ClassVar[tuple[type[LayerKind], ...]] = ()
    maker: ClassVar[str] = ""
    in_grids_alone: ClassVar[bool] = False

    @property
    def rules(self) -> tuple[LayerRule, ...]:
        """Which layers it shall change after all, or not."""
        return ()

    @property
    def takes_pointwise(self) -> bool:
        """Whether it changes 1x1 convolutions."""
        return False

    @property
    def takes_linear(self) -> bool:
        """Whether it changes fully connected layers."""
        return False

    def everywhere(self) -> Method:
        """The setting for all layers that can have it, also where it saves nothing, as papers give it."""
        return self

    @property
    def forced(self) -> bool:
        """Whether it changes layers that are worse off for it, too."""
        return False

    def on_array(self, array: ArraySpec) -> Method:
        """The method for layers on an array.

        Args:
            array: R x C, columns counted in weights.
        """
        # What most methods make of a layer does not depend on the array.
        return self

    @abstractmethod
    def layer(self, shape: ConvShape) -> tuple[LayerKind, str]:
        """What becomes of a layer that may be changed, and why, in words.

        Raises:
            InputError: the setting does not fit the layer.
        """

    def layer_of_runs(self, runs: Sequence[ConvShape]) -> tuple[LayerKind, str]:
        """What becomes of a layer that runs on several planes: what becomes of it on the first of them.

        Args:
            runs: at least one, with the same weight.

        Raises:
            InputError: the setting does not fit the layer.
        """
        return self.layer(runs[0])

    def check_changes(self, network: Network, kinds: dict[str, LayerKind], example: str) -> None:  # noqa: B027 (it need not)
        """Refuse a plan in which the method changes nothing.

        Args:
            network: the network.
            kinds: what becomes of each layer, by name.
            example: a layer that stays as it is, and why, in words.

        Raises:
            InputError: it changes nothing.
        """
