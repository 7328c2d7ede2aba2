"""The plans that a search chooses from, as all processes of one study know them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from rankfold.errors import InputError
from rankfold.plan import LayerPlan
from rankfold.planning.exact import Candidate, LayerChoices

if TYPE_CHECKING:
    import optuna

Picks = tuple[int, ...]
PREFIX = "space "


@dataclass(frozen=True)
class SearchSpace:
    """Candidates of each layer, and the plans to try first.

    Attributes:
        layers: the candidates of each layer.
        starts: the index of each layer's candidate in each of these plans; all different.
    """

    layers: tuple[tuple[Candidate, ...], ...]
    starts: tuple[Picks, ...]

    @classmethod
    def of(cls, choices: Sequence[LayerChoices], starts: Sequence[Sequence[Candidate]]) -> SearchSpace:
        """The space of all choices.

        Raises:
            InputError: there is nothing to choose, or a start is none of the choices.
        """
        layers = tuple(layer.candidates for layer in choices)
        if not all(layers) or all(len(layer) == 1 for layer in layers):
            raise InputError("there is nothing to search: every layer needs candidates, and one of them more than one")
        found = []
        for start in starts:
            try:
                found.append(tuple(layer.index(one) for layer, one in zip(layers, start, strict=True)))
            except ValueError:
                raise InputError("a plan to start from must have one of the candidates of each layer") from None
        return cls(layers, tuple(dict.fromkeys(found)))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of candidates of each layer."""
        return tuple(len(layer) for layer in self.layers)

    def chosen(self, picks: Picks) -> tuple[Candidate, ...]:
        """The candidates with these indices."""
        return tuple(layer[pick] for layer, pick in zip(self.layers, picks, strict=True))

    def to_json(self) -> dict[str, Any]:
        """For the study file."""
        return {"layers": [[_to_json(one) for one in layer] for layer in self.layers], "starts": [list(s) for s in self.starts]}

    @classmethod
    def from_json(cls, content: Any, names: Sequence[str]) -> SearchSpace:
        """What `to_json` gave, for a network with layers of these names.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it is something else.
        """
        layers = tuple(tuple(_from_json(one) for one in layer) for layer in content["layers"])
        if [{one.entry.name for one in layer} for layer in layers] != [{name} for name in names]:
            raise ValueError("candidates of other layers")
        starts = tuple(tuple(start) for start in content["starts"])
        for start in starts:
            for pick, layer in zip(start, layers, strict=True):
                if not (isinstance(pick, int) and 0 <= pick < len(layer)):
                    raise ValueError("a start that is no plan")
        return cls(layers, starts)

    def shared(self, study: optuna.Study) -> SearchSpace:
        """The space that came first to the study: this one, or that of the process that began it.

        Calibration on another machine differs in the last digits, and may find other supports and other candidates worth having;
        the index of a candidate must mean the same to all. When several processes begin at once, the journal's order, in which
        attributes stay, decides.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: the study holds no such thing.
        """
        known = [name for name in study.user_attrs if name.startswith(PREFIX)]
        if not known:
            study.set_user_attr(f"{PREFIX}{uuid4().hex}", self.to_json())
            known = [name for name in study.user_attrs if name.startswith(PREFIX)]
        return SearchSpace.from_json(study.user_attrs[known[0]], [layer[0].entry.name for layer in self.layers])


def _to_json(candidate: Candidate) -> dict[str, Any]:
    content = asdict(candidate)
    content["entry"] = {key: value for key, value in content["entry"].items() if value not in (None, "")}
    return content


def _from_json(content: dict[str, Any]) -> Candidate:
    found = Candidate(**{**content, "entry": LayerPlan(**content["entry"])})
    if not all(isinstance(value, int) for value in (found.cycles, found.arrays, found.weights)):
        raise ValueError("a cost that is no number")
    return found
