"""`PlanChoice`: what a space says of the layers of its networks: one setting, a plan's file, or a budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankfold.errors import InputError, did_you_mean
from rankfold.mapping import ArraySpec
from rankfold.plan import METHODS, Method, Plan, check_plan, uniform_plan
from rankfold.plan.methods import method_with, settings
from rankfold.plan.uniform import Bits
from rankfold.workload import Network

if TYPE_CHECKING:
    from rankfold.planning.exact.budget import Budget

BITS = 4  # where nothing is said
# What says by itself what layers become, and what each of them goes with.
SOURCES: Mapping[str, tuple[str, ...]] = {
    "file": (),
    "budget": ("bits", "kinds"),
    "method": ("bits",),
}
CHIP, PLAN = "chip", "plan"  # who says how layers are laid on arrays


@dataclass(frozen=True, kw_only=True)
class PlanChoice:
    """What layers become.

    Attributes:
        name: what tables call it.
        bits: of weights and inputs, where neither file nor budget says others.
        method: one setting for all layers; None: every layer stays dense, or one of the following.
        file: of a plan.
        budgets: that a plan is made under, for each size of arrays.
        kinds: what layers may become under budgets; None: all.
        network: the only one that it is for; None: all of them.
        free: whether layers get mappings chosen for each chip instead of the plan's.
    """

    name: str
    bits: Bits = BITS
    method: Method | None = None
    file: Path | None = None
    budgets: tuple[Budget, ...] = ()
    kinds: tuple[str, ...] | None = None
    network: str | None = None
    free: bool = True

    @property
    def content(self) -> Plan | None:
        """Of the file, if there is one."""
        return None if self.file is None else _loaded(self.file)

    def is_for(self, network: Network) -> bool:
        """Whether a network can have it."""
        return self.network in (None, network.name)

    def plan(self, network: Network, array: ArraySpec) -> Plan:
        """The plan of a network on arrays, of one setting or a file.

        Raises:
            InputError: the setting does not fit the network, or the file is no plan of it.
        """
        if self.content is not None:
            check_plan(self.content, network)
            return self.content.on(array)
        return uniform_plan(network, array, self.method, bits=self.bits)


# A plan is read once for all arrays.
@cache
def _loaded(file: Path) -> Plan:
    return Plan.load(file)


DENSE = PlanChoice(name=f"dense, {BITS} bits")


def plan_choice(content: Mapping[str, Any], folder: Path | None) -> PlanChoice:
    """A choice as a space's file says it.

    Args:
        content: that follows the schema.
        folder: where files that it names lie; None: here.

    Raises:
        InputError: its parts do not go together, or a setting, budget or kind is none.
    """
    given = {name: value for name, value in content.items() if name not in ("name", "network", "mappings")}
    source = next((name for name in SOURCES if name in given), "bits")
    of_method = {name: value for name, value in given.items() if name in settings()}
    for name in given:
        allowed = (source, *SOURCES.get(source, ()), *(of_method if source == "method" else ()))
        if name not in allowed:
            raise InputError(_does_not_go(name, source))
    bits = given.get("bits", BITS)
    if isinstance(bits, list):
        bits = tuple(bits)
    file = None
    if "file" in given:
        file = (folder or Path()) / given["file"]
    usual = CHIP if source in ("bits", "method") else PLAN
    found = PlanChoice(
        name=content.get("name") or _name(given),
        bits=bits,
        method=_method(given, of_method),
        file=file,
        budgets=_budgets(given),
        kinds=_kinds(given),
        network=content.get("network"),
        free=content.get("mappings", usual) == CHIP,
    )
    if found.file is not None:
        _loaded(found.file)  # a file that is no plan is refused before anything is run
    return found


def _does_not_go(name: str, source: str) -> str:
    known = {"bits", "name", "network", "mappings", "kinds", *SOURCES, *settings()}
    if name not in known:
        return f"{name} is none of {', '.join(sorted(known))}{did_you_mean(name, known)}"
    if source == "bits":
        return f"{name} needs {'budget' if name == 'kinds' else 'method'} beside it"
    return f"{name} does not go with {source}, which says it already; omit one of them"


def _method(given: Mapping[str, Any], of_method: Mapping[str, Any]) -> Method | None:
    name = given.get("method")
    if name is None:
        return None
    if name not in METHODS:
        raise InputError(f"method (={name}) must be one of {', '.join(METHODS)}{did_you_mean(name, METHODS)}")
    # YAML reads 4 as a number and 1/8 as a text.
    texts = dict(of_method)
    if "rank" in texts:
        texts["rank"] = str(texts["rank"])
    return method_with(name, texts)


def _budgets(given: Mapping[str, Any]) -> tuple[Budget, ...]:
    if "budget" not in given:
        return ()
    # Late: SciPy's solvers, which come with it, take long to import.
    from rankfold.planning.exact.budget import Budget
    from rankfold.planning.exact.quantities import KNOWN

    budgets = Budget.parse_all(given["budget"])
    for budget in budgets:
        if KNOWN[budget.quantity].priced:
            raise InputError(
                f"budget of {budget.quantity}: it depends on the technology, which varies; give budgets of "
                f"{', '.join(name for name in KNOWN if not KNOWN[name].priced)}, or the file of a plan"
            )
    return budgets


def _kinds(given: Mapping[str, Any]) -> tuple[str, ...] | None:
    if "kinds" not in given:
        return None
    from rankfold.planning.kinds import chosen_labels

    names = tuple(name.strip() for name in given["kinds"].split(","))
    chosen_labels(names)
    return names


def _name(given: Mapping[str, Any]) -> str:
    """What it is called where nobody says: what is given of it."""
    if "file" in given:
        return Path(given["file"]).stem
    if "budget" in given:
        words = [given["budget"]]
    elif "method" in given:
        words = [given["method"]]
        words += [f"{name} {given[name]}" for name in settings() if name in given]
    else:
        words = ["dense"]
    bits = given.get("bits", BITS)
    if isinstance(bits, list):
        bits = f"{bits[0]}/{bits[1]}"
    return ", ".join([*words, f"{bits} bits"])
