"""Arguments that say how layers are laid on arrays."""

from __future__ import annotations

import argparse

from rankfold.cli.arguments.old_names import also_called
from rankfold.cli.arguments.values import array_count, checked
from rankfold.cost import AUTO, MOST_ARRAYS, Masks
from rankfold.cost.energy import choose_mappings, counted_plan, hardware_table
from rankfold.errors import InputError, UnwantedArgumentError
from rankfold.mapping import MAPPINGS
from rankfold.plan import Plan
from rankfold.plan.methods import offered_methods
from rankfold.workload import Network

RULE = (
    f"{AUTO} (the default: of the mappings of a layer that need at most {MOST_ARRAYS} times the arrays of "
    "im2col, the fastest; low-rank pairs and pruned layers as sdk), or one for all layers"
)


def add_mapping(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    what: str = "mapping",
    *,
    once_method: bool = False,
) -> None:
    """Add `--mapping`; None where it is not given.

    Args:
        parser: what it is added to.
        what: it is the choice of, in words.
        once_method: whether the command called it `--method` in version 0.1.
    """
    option = parser.add_argument(
        "--mapping", type=checked(_no_method), choices=(AUTO, *MAPPINGS), help=f"{what}: {RULE}"
    )
    if once_method:
        also_called(parser, option, "--method")


def _no_method(name: str) -> str:
    """The name of a mapping, if it is none of a method.

    Raises:
        InputError: it is one of a method of compression, whose option has the name that this one had.
    """
    if name in offered_methods():
        raise InputError(
            f"{name} is a method of compression, and no mapping; `rankfold compress --method {name}` makes a "
            "network of it, whose folder other commands take"
        )
    return name


def add_most_arrays(parser: argparse.ArgumentParser) -> None:
    """Add `--max-arrays`."""
    parser.add_argument(
        "--max-arrays",
        type=checked(array_count),
        metavar="N",
        help="a mapping for each layer, such that the network needs the fewest cycles within N arrays",
    )


def named_mapping(mapping: str | None) -> str | None:
    """The mapping that the user named for all layers; None: the rule."""
    if mapping == AUTO:
        return None
    return mapping


def laid_out(options: argparse.Namespace, network: Network, plan: Plan) -> Plan:
    """The uniform plan with the mappings of the rule, unless the user named one."""
    if named_mapping(options.mapping) is not None:
        return plan
    return choose_mappings(network, plan, hardware_table(plan.machine))


def within_arrays(
    options: argparse.Namespace, network: Network, plan: Plan, masks: Masks, linear: bool | None
) -> Plan:
    """The plan with the mappings that `--max-arrays` asks for; without it, as it is.

    Raises:
        InputError: the user named a mapping too, or no choice of mappings needs so few arrays.
    """
    if options.max_arrays is None:
        return plan
    named = named_mapping(options.mapping)
    if named is not None:
        raise UnwantedArgumentError(
            f"--max-arrays chooses the mappings itself; omit --mapping {named}", "mapping"
        )
    from rankfold.planning.exact.mappings import mappings_within  # late: SciPy's solver takes long to import

    # On the arrays that are priced, so that it is the number that the output counts.
    table = hardware_table(plan.machine)
    counted = counted_plan(network, plan, table)
    return mappings_within(network, plan, counted, options.max_arrays, masks=masks, linear=linear)
