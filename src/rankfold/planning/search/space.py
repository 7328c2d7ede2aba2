"""The plans that a search chooses from, as all processes of one study know them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from rankfold.errors import InputError
from rankfold.plan import LayerPlan
from rankfold.planning.exact import Candidate, LayerChoices

if TYPE_CHECKING:
    import optuna

Picks = tuple[int, ...]
PREFIX = "space "
COUNTS = ("cycles", "arrays", "weights")  # of a candidate, whole numbers
AMOUNTS = ("cycles", "arrays", "energy", "weights", "loss")


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
        # Layers are picked one by one, so that none may need another: idle ones do without.
        layers = tuple(tuple(one for one in layer.candidates if not one.needs) for layer in choices)
        most = max(map(len, layers), default=0)
        if not all(layers) or most < 2:
            raise InputError(
                "there is nothing to search: every layer needs candidates, and one of them more than one"
            )
        picks: dict[Picks, None] = {}  # each once, in their order
        for start in starts:
            picks[_picks(layers, start)] = None
        return cls(layers, tuple(picks))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of candidates of each layer."""
        return tuple(len(layer) for layer in self.layers)

    def chosen(self, picks: Picks) -> tuple[Candidate, ...]:
        """The candidates with these indices."""
        chosen = []
        for layer, pick in zip(self.layers, picks, strict=True):
            chosen.append(layer[pick])
        return tuple(chosen)

    def to_json(self) -> dict[str, Any]:
        """For the study file."""
        layers = []
        for layer in self.layers:
            layers.append([_to_json(candidate) for candidate in layer])
        return {"layers": layers, "starts": list(map(list, self.starts))}

    @classmethod
    def from_json(cls, content: Any, names: Sequence[str]) -> SearchSpace:
        """What `to_json` gave, for a network with layers of these names.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it is something else.
        """
        layers = []
        for layer, name in zip(content["layers"], names, strict=True):
            candidates = tuple(map(_from_json, layer))
            if any(candidate.entry.name != name for candidate in candidates):
                raise ValueError("candidates of other layers")
            layers.append(candidates)
        starts = []
        for start in content["starts"]:
            for pick, candidates in zip(start, layers, strict=True):
                if not (isinstance(pick, int) and 0 <= pick < len(candidates)):
                    raise ValueError("a start that is no plan")
            starts.append(tuple(start))
        return cls(tuple(layers), tuple(starts))

    def shared(self, study: optuna.Study) -> SearchSpace:
        """The space that came first to the study: this one, or that of the process that began it.

        Calibration on another machine differs in the last digits, and may find other supports and other
        candidates worth having; the index of a candidate must mean the same to all. When several
        processes begin at once, the journal's order, in which attributes stay, decides.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: the study holds no such thing.
        """
        known = _spaces(study)
        if not known:
            # Under a name of its own: two processes that begin at once would overwrite each other's.
            name = PREFIX + uuid4().hex
            study.set_user_attr(name, self.to_json())
            known = _spaces(study)
        names = [layer[0].entry.name for layer in self.layers]
        return SearchSpace.from_json(study.user_attrs[known[0]], names)


def _spaces(study: optuna.Study) -> list[str]:
    """The names under which spaces are in a study, in the order in which they came."""
    return [name for name in study.user_attrs if name.startswith(PREFIX)]


def _picks(layers: Sequence[Sequence[Candidate]], chosen: Sequence[Candidate]) -> Picks:
    picks = []
    try:
        for layer, candidate in zip(layers, chosen, strict=True):
            picks.append(layer.index(_alone(layer, candidate)))
        return tuple(picks)
    except ValueError:  # the lengths differ, or a candidate is not there
        raise InputError("a plan to start from must have one of the candidates of each layer") from None


def _alone(layer: Sequence[Candidate], candidate: Candidate) -> Candidate:
    """The candidate that makes the same of a layer, whatever becomes of others."""
    if not candidate.needs:
        return candidate
    return next((one for one in layer if one.entry == candidate.entry), candidate)


def _to_json(candidate: Candidate) -> dict[str, Any]:
    content: dict[str, Any] = {}
    content["entry"] = candidate.entry.to_json()
    for name in AMOUNTS:
        content[name] = getattr(candidate, name)
    return content


def _from_json(content: dict[str, Any]) -> Candidate:
    amounts = dict(content)
    entry = LayerPlan.from_json(amounts.pop("entry"))
    candidate = Candidate(entry, **amounts)
    for name in COUNTS:
        if not isinstance(getattr(candidate, name), int):
            raise ValueError("a cost that is no number")
    return candidate
