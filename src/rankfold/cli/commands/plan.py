"""`rankfold plan`: what every layer becomes, chosen exactly under budgets."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankfold.cli.arguments.arrays import with_cells
from rankfold.cli.arguments.networks import MODEL_HELP
from rankfold.cli.arguments.options import (
    add_array,
    add_technology,
    bit_width,
    checked,
    image_size,
    prepare_process,
)
from rankfold.cli.commands.plan_search import add_search, run_search, search_options
from rankfold.cli.words.quiet import natives_silenced
from rankfold.errors import InputError
from rankfold.files import check_target
from rankfold.mapping import DEFAULT_ARRAY
from rankfold.planning.exact import (
    ARRAYS,
    CYCLES,
    ENERGY,
    LOSS,
    QUANTITIES,
    Candidate,
    in_units,
    structure_in_words,
    total,
)
from rankfold.planning.exact.budget import Budget

if TYPE_CHECKING:
    from rankfold.planning.problem import Planning


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("model", help=f"{MODEL_HELP}, with trained weights; no ONNX files")
    parser.add_argument(
        "--data",
        required=True,
        metavar="DATA",
        help="`digits`, a folder of Parquet shards or images by class, or a hub id",
    )
    add_array(parser)
    parser.add_argument(
        "--max-cycles",
        metavar="N",
        help="most cycles per image: a number, or a share of the dense network: 40%%",
    )
    parser.add_argument(
        "--max-arrays", metavar="N", help="most arrays, one for each tile: a number, or a share"
    )
    parser.add_argument("--max-energy", metavar="E", help="most energy per image: 300nJ, 1.2uJ, or a share")
    parser.add_argument(
        "--max-drop", type=float, metavar="POINTS",
        help="most points of accuracy to lose, measured before fine-tuning on training images held out from calibration",
    )  # fmt: skip
    parser.add_argument(
        "--bits",
        type=checked(bit_width),
        default=4,
        help="of weights and activations, 1 to 8, or `float` (default 4)",
    )
    parser.add_argument("--pointwise", action="store_true", help="1x1 convolutions may become low-rank too")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="weights of the dense network (.safetensors or a torch state dict)",
    )
    parser.add_argument(
        "--images", type=int, metavar="N",
        help="training images to calibrate on (default 512, or 32 where they are larger than 64x64)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the plan (default plan.json; not with --pareto alone)"
    )
    parser.add_argument(
        "--pareto", type=Path, metavar="DIR", help="write the whole front: front.csv, front.html, front.svg"
    )
    add_search(parser)
    add_technology(parser, resolution=False)
    parser.add_argument("--seed", type=int, default=0, help="fixes everything drawn at random (default 0)")
    parser.add_argument("--image-size", type=checked(image_size), metavar="HxW", help="resize every image")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default auto)")
    parser.add_argument("--threads", type=int, help="processor threads (default: all)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(
        run=run, interrupted="the same command begins anew; with --search and --study it goes on"
    )


def run(options: argparse.Namespace) -> int:
    """Plan, print why, and write the plan and the front."""
    budgets = tuple(
        Budget.parse(quantity, text)
        for quantity in QUANTITIES
        if (text := getattr(options, f"max_{quantity}")) is not None
    )
    limited = bool(budgets) or options.max_drop is not None
    if not limited and options.pareto is None:
        raise InputError(
            "give a budget (--max-cycles, --max-arrays, --max-energy, --max-drop), or --pareto DIR for all of them"
        )
    if not limited and options.out is not None:
        raise InputError("--out is for one plan, which needs a budget such as --max-cycles 40%")
    out = options.out or Path("plan.json")
    if limited and out.is_dir():
        raise InputError(f"{out} is a folder; give a file for the plan")
    if limited:
        check_target(out, (options.checkpoint, options.study))
    if options.pareto is not None and options.pareto.exists() and not options.pareto.is_dir():
        raise InputError(f"{options.pareto} is a file; give a folder for the front")
    searching = search_options(options)
    from rankfold.cli.words.progress import Steps
    from rankfold.planning.problem import PlanSettings, best_plan, planning_problem

    prepare_process(options.threads)
    settings = PlanSettings(
        options.model, options.data, with_cells(options.array or DEFAULT_ARRAY, options), budgets,
        None if options.max_drop is None else options.max_drop / 100, options.bits, options.pointwise, options.checkpoint,
        options.images, seed=options.seed, image_size=options.image_size, device=options.device, technology=options.technology,
        adc=options.adc, adc_bits=options.adc_bits,
    )  # fmt: skip
    progress = Steps("layers")
    problem = planning_problem(settings, progress)
    if searching is not None:
        return run_search(problem, searching, options, out if limited else None)
    with natives_silenced():
        found = best_plan(problem, progress) if limited else None
    files: tuple[Path, ...] = ()
    table = ""
    if options.pareto is not None:
        from rankfold.report.pareto.write import front_table, write_front

        front, dense = problem.front(), [layer.dense for layer in problem.choices]
        chosen = None if found is None else found.solution.chosen
        table = front_table(front, dense)
        # Before the plan: a front may be refused, and then nothing is written.
        files = write_front(options.pareto, front, problem.network.name, problem.array, dense, chosen)
    if found is not None:
        found.plan.save(out)
        files = (out, *files)
    if options.json:
        print(
            json.dumps(
                {"plan": None if found is None else _to_json(found), "files": [str(file) for file in files]},
                indent=2,
            )
        )
        return 0
    if found is not None:
        print(_layers(found))
        print(_totals(found))
    if table:
        print(f"all best trades of cycles for predicted loss, thinned:\n{table}")
    print("\n".join(f"{'plan' if file == out else 'front'}: {file}" for file in files))
    return 0


def _layers(found: Planning) -> str:
    from rankfold.records.text_table import format_table

    rows = []
    for layer, chosen in zip(found.choices, found.solution.chosen, strict=True):
        rows.append([
            layer.name, structure_in_words(chosen.entry), chosen.entry.mapping, f"{layer.dense.cycles:,} -> {chosen.cycles:,}",
            f"{layer.dense.arrays:,} -> {chosen.arrays:,}", f"{chosen.loss:.4f}", str(len(layer.candidates)),
            layer.why_dense or "-",
        ])  # fmt: skip
    heads = [
        "layer",
        "becomes",
        "mapping",
        "cycles",
        "arrays",
        "predicted loss",
        "candidates",
        "why it stays",
    ]
    legend = "\ng: low-rank groups, r: rank of each, e: kernel positions that all outputs share, *: and all input channels"
    return format_table(heads, rows) + legend


def _totals(found: Planning) -> str:
    solution = found.solution
    lines = []
    for quantity in QUANTITIES:
        if quantity == ENERGY and ENERGY not in found.budgets:
            continue
        before, after = total(found.dense, quantity), solution.total(quantity)
        budget = (
            f", budget {in_units(quantity, found.budgets[quantity])}" if quantity in found.budgets else ""
        )
        lines.append(
            f"{in_units(quantity, before)} dense -> {in_units(quantity, after)} ({after / before:.1%}{budget})"
        )
    gap = "proven optimal" if solution.gap == 0 else f"within {solution.gap:.2%} of the best possible"
    lines.append(f"predicted loss +{solution.total(LOSS):.4f} nats before fine-tuning; {gap}")
    if found.drop is not None:
        lines.append(
            f"measured before fine-tuning, on held-out training images: {found.drop.planned:.2%}, dense {found.drop.dense:.2%}, "
            f"{100 * found.drop.amount:.2f} points lost"
        )
    return "\n".join(lines)


def _to_json(found: Planning) -> dict[str, Any]:
    """The stable interface of `--json`."""
    solution = found.solution
    counted = [CYCLES, ARRAYS, *([ENERGY] if ENERGY in found.budgets else [])]
    return {
        **found.plan.to_json(),
        "total": {
            "dense": {quantity: _amount(found.dense, quantity) for quantity in counted},
            "planned": {quantity: _amount(solution.chosen, quantity) for quantity in counted},
            "budgets": found.budgets,
            "predicted_loss": solution.total(LOSS),
            "goal": solution.goal,
            "bound": solution.bound,
            "gap": solution.gap,
        },
        "measured": None
        if found.drop is None
        else {"dense": found.drop.dense, "planned": found.drop.planned},
    }


def _amount(chosen: Sequence[Candidate], quantity: str) -> float:
    """pJ, or a whole number of cycles or arrays."""
    amount = total(chosen, quantity)
    return amount if quantity == ENERGY else round(amount)
