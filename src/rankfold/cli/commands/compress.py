"""`rankfold compress`: the main job."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rankfold import run_files
from rankfold.cli.arguments.arrays import (
    add_array,
    add_bits,
    add_non_idealities,
    check_details,
    chosen_bits,
    chosen_hardware,
    kept_with_plan,
    refuse_noise,
)
from rankfold.cli.arguments.mappings import add_mapping, named_mapping
from rankfold.cli.arguments.methods import add_method, add_rules, chosen_method
from rankfold.cli.arguments.metrics import add_metric, add_outputs, given_metric
from rankfold.cli.arguments.models import add_checkpoint, add_classes, classes_of
from rankfold.cli.arguments.networks import MODEL_HELP
from rankfold.cli.arguments.process import command_line, defaults_of, prepare_process
from rankfold.cli.arguments.processes import joined, started_together
from rankfold.cli.arguments.technology import add_technology
from rankfold.cli.arguments.training import (
    DATA_HELP,
    add_distillation,
    add_training,
    add_unlabelled_distillation,
    distillation,
    recipe,
    training_data,
)
from rankfold.cli.arguments.values import checked, input_sizes, refuse_given
from rankfold.cli.commands.compress_reconstruct import (
    add_reconstruction,
    check_reconstruction,
    reconstruction,
)
from rankfold.cost.energy import all_laid_out, choose_mappings, hardware_table
from rankfold.errors import InputError, UnwantedArgumentError
from rankfold.lowrank import DECOMPOSITIONS, ROUNDINGS
from rankfold.plan import Method, Plan
from rankfold.plan.kinds import PLAIN
from rankfold.plan.methods import offered_methods, settings

if TYPE_CHECKING:
    from torch import nn

    from rankfold.machine import Hardware, NonIdealities
    from rankfold.mapping import ArraySpec
    from rankfold.runs.baseline import DenseWeights
    from rankfold.training.processes import Processes
    from rankfold.training.source import TrainingData
    from rankfold.workload import Network

DENSE_EPOCHS = 60  # of a dense network without weights, where nothing is said
# What says, beside a method's own settings, how all layers are treated.
OF_ONE_SETTING = ("linear", "fit", "force_low_rank", "rules", "weight_bits", "input_bits", "pointwise")
UNSET = object()  # since None means float
BITS = 4  # where nothing is said


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    add_array(parser)
    add_method(parser)
    add_rules(parser)
    add_bits(parser, UNSET, f"of weights and activations, 1 to 8, or `float` (default {BITS})")
    add_mapping(parser, "how layers are laid on the arrays")
    _add_decomposition(parser)
    parser.add_argument(
        "--plan", type=Path, metavar="FILE", help="follow this plan instead of one (g, r) for all layers"
    )
    add_checkpoint(parser)
    add_classes(parser)
    parser.add_argument(
        "--baseline-epochs",
        type=int,
        metavar="N",
        help="epochs for the dense network where it must be trained; 0 takes its weights as they are "
        f"(default {DENSE_EPOCHS}; with --epochs 0 nothing is trained unless this asks for it)",
    )
    parser.add_argument(
        "--noise-aware",
        action="store_true",
        help="fine-tune with the arrays below in the loop, programmed anew in every step",
    )
    add_distillation(parser)
    add_unlabelled_distillation(parser)
    add_metric(parser)
    add_outputs(parser)
    add_reconstruction(parser)
    add_non_idealities(parser)
    parser.add_argument(
        "--input",
        type=checked(input_sizes),
        metavar="CxHxW",
        help="image size of an ONNX file that leaves it open, where it is only decomposed (--epochs 0)",
    )
    add_technology(parser, resolution=False)
    # An ONNX file is decomposed without data too (with --epochs 0); `run` asks for them otherwise.
    add_training(parser, epochs=10, rate=0.05, data_needed=False)
    # What is given is told by what it would be otherwise.
    parser.set_defaults(run=run, defaults=defaults_of(parser))


def _add_decomposition(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--decomposition",
        choices=DECOMPOSITIONS,
        help="factors nearest to the weights (svd), to the layers' outputs on 512 training images (data, "
        "the default), or the same layer after layer, each taking back the errors of those before it "
        "(sequential); of an ONNX file data with --data, else svd",
    )
    parser.add_argument(
        "--rounding",
        choices=ROUNDINGS,
        default=ROUNDINGS[0],
        help="of weights to their levels before fine-tuning: each to the nearest (the default), or so that "
        "errors make up for each other in the layer's outputs on 512 training images (compensated)",
    )


def run(options: argparse.Namespace) -> int:
    """Compress a network and say where the results are."""
    if options.plan is not None:
        _check_plan_alone(options)
    # A job of its own: a file that is only decomposed needs no data, and stays as it is elsewhere.
    if options.model.lower().endswith(".onnx") and options.epochs == 0 and not options.reconstruct:
        from rankfold.cli.commands import compress_onnx

        if started_together():
            raise InputError("ONNX files are decomposed in one process; omit torchrun")
        return compress_onnx.run(options, bits_given=options.bits not in (UNSET, None))
    refuse_given(
        options,
        ["input"],
        "{flag} is of ONNX files that are only decomposed; the data say how large images are",
    )
    if options.data is None:
        raise InputError(f"--data is missing: {DATA_HELP}")
    # Before anything is loaded, as what is wrong with the options costs no wait then.
    check_reconstruction(options)
    planned = method = None
    if options.plan is None:
        method = chosen_method(options)
    else:
        planned = Plan.load(options.plan)
    if options.checkpoint is not None and options.baseline_epochs != options.defaults["baseline_epochs"]:
        raise UnwantedArgumentError(
            "--checkpoint brings the weights of the dense network, which is then not trained; omit "
            "--baseline-epochs",
            "baseline_epochs",
        )
    hardware = chosen_hardware(options, planned)
    noise = _noise(options, hardware)

    from rankfold.cli.words.report import show_report

    prepare_process(options.threads)
    with joined(options.device) as (processes, device):
        _compress(options, planned or method, hardware, noise, processes, device)
        if processes.is_first:
            show_report({None: options.out}, options.out / run_files.REPORT)
    return 0


def _compress(
    options: argparse.Namespace,
    wanted: Plan | Method | None,
    hardware: Hardware,
    noise: NonIdealities | None,
    processes: Processes,
    device: str,
) -> None:
    """Load what the options name, and run the whole job on it, by a plan or one method for all layers."""
    # Late: these import torch, which takes longer than all checks of options.
    from rankfold.cli.words.progress import Bars
    from rankfold.models.load import load_model
    from rankfold.runs.run import run as run_job
    from rankfold.runs.state import RunNotes, traced

    tuning = recipe(options)
    data = training_data(options, processes)
    channels, image = data.input_size[0], data.input_size
    classes = classes_of(options, data)
    model = load_model(options.model, classes, channels, options.seed, image=image)
    baseline = _baseline(options, data)
    network = traced(model, data, options.model)
    plan = _chosen_plan(options, wanted, model, network, kept_with_plan(options, hardware, wanted))
    _check_decomposition(options, plan)
    run_job(
        model,
        data,
        plan,
        tuning,
        out=options.out,
        name=options.model,
        baseline=baseline,
        decomposition=options.decomposition or "data",
        rounding=options.rounding,
        distillation=distillation(options),
        reconstruction=reconstruction(options, data.train_images),
        noise=noise,
        hardware=hardware,
        notes=RunNotes(command_line(options), options.image_size),
        linear=options.linear,
        device=device,
        resume=options.resume,
        progress=Bars(),
        processes=processes,
        captured=options.captured,
        metric=given_metric(options),
        outputs=options.outputs,
    )


def _check_decomposition(options: argparse.Namespace, plan: Plan) -> None:
    """Refuse a way to make factors where there are none to make."""
    made = any(layer.kind.made_for_data for layer in plan.layers)
    if not made:
        refuse_given(
            options, ["decomposition"], "no layer of this plan gets factors or supports; omit {flag}"
        )


def _baseline(options: argparse.Namespace, data: TrainingData) -> DenseWeights:
    """Where the dense weights come from.

    Raises:
        InputError: nobody has any, and the user asked for no training.
    """
    from rankfold.runs.baseline import TrainedWeights, dense_weights
    from rankfold.runs.recipes import DENSE

    asked = options.baseline_epochs
    if asked is None:
        asked = DENSE_EPOCHS
    # Only used where nobody has weights of this network for these data.
    recipe = replace(DENSE, epochs=asked, batch_size=options.batch)
    weights = dense_weights(options.model, data, options.checkpoint, recipe, classes=options.classes)
    unasked = options.epochs == 0 and options.baseline_epochs is None
    if unasked and isinstance(weights, TrainedWeights):
        raise InputError(
            f"there are no trained weights of {options.model} for {data.name}, and --epochs 0 trains "
            "nothing; give --checkpoint FILE, or say with --baseline-epochs how long to train the dense "
            "network (0: its weights are taken as they are)"
        )
    return weights


def _chosen_plan(
    options: argparse.Namespace,
    wanted: Plan | Method | None,
    model: nn.Module,
    network: Network,
    hardware: ArraySpec | Hardware,
) -> Plan:
    """The plan of the file that the user named, for that hardware; or one setting for all layers."""
    if isinstance(wanted, Plan):
        return wanted.on(hardware)

    from rankfold.surgery.methods import plan_of

    bits = chosen_bits(options, _both_bits(options))
    mapping = named_mapping(options.mapping)
    plan = plan_of(wanted, model, network, hardware, bits=bits, mapping=mapping or "sdk")
    if mapping is not None:
        return all_laid_out(plan, mapping)
    return choose_mappings(network, plan, hardware_table(plan.machine))


def _both_bits(options: argparse.Namespace) -> int | None:
    """Bits of weights and inputs alike."""
    # Not the default of argparse, so that `--bits` beside a plan can be told from the default.
    if options.bits is UNSET:
        return BITS
    both: int | None = options.bits
    return both


def _check_plan_alone(options: argparse.Namespace) -> None:
    """Refuse what a plan says already."""
    names = ["method", "mapping", *settings(offered_methods().values()), *OF_ONE_SETTING]
    # What these are where nothing is said is not what `refuse_given` knows for that.
    if options.steering != PLAIN:
        names.append("steering")
    if options.bits is not UNSET:
        names.append("bits")
    refuse_given(
        options, names, f"--plan already says what every layer becomes; omit {{flag}}, or edit {options.plan}"
    )


def _noise(options: argparse.Namespace, hardware: Hardware) -> NonIdealities | None:
    """The arrays that fine-tuning shall have in the loop; None: it shall have none."""
    check_details(options, hardware)
    chosen = hardware.non_idealities
    if options.noise_aware:
        if chosen.ideal:
            raise InputError(
                "--noise-aware needs arrays that are not ideal; describe them, such as --adc-bits 6 "
                "--program-noise 0.03"
            )
        return chosen
    # Noise that nothing looks at would be mistaken for noise that was trained for; the resolution of ADCs is
    # that of energy too.
    refuse_noise(
        options,
        "the noise of arrays goes with --noise-aware; add it, or simulate the finished run (rankfold "
        "simulate)",
    )
    return None
