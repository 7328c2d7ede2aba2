"""Training steps per second: a plain PyTorch loop, and Rankfold's float and 4-bit steps, in one process.

Usage: python benchmarks/training.py [--threads 2] [--rounds 15] [--compiled]

ResNet-20, 10 classes, batches of 128 random images of 3x32x32. Variants:
  plain    eager PyTorch, NCHW, float32
  float    the step of `rankfold.training.epochs`: channels last, precision `auto`
  4-bit    the same with learned-step-size quantised weights and inputs, 4 bits (first convolution and
           classifier 8)
  taught   4-bit, distilled from the float network
With --compiled also `float` and `4-bit` through torch.compile.

The variants take turns, a few steps each, so that a busy machine slows all of them alike; printed are the
median images/s of each and the median over rounds of the ratios of step times. Aims: float no slower than
plain, 4-bit at most 1.5 times the time of float.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankfold.calibration.quantisers import calibrate_
from rankfold.calibration.signs import observe_signs
from rankfold.models.zoo import build
from rankfold.nn.quantised import LayerBits, replace_by_quantised_
from rankfold.training.device import resolve_precision
from rankfold.training.distillation import Distillation, Teacher
from rankfold.training.optimiser import optimiser
from rankfold.training.recipe import Recipe

BATCH = 128
STEPS = 3


def plain_step(x: Tensor, y: Tensor) -> Callable[[], None]:
    model = build("resnet20", 10).train()
    sgd = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def step() -> None:
        loss = F.cross_entropy(model(x), y)
        sgd.zero_grad()
        loss.backward()
        sgd.step()

    return step


def rankfold_step(
    x: Tensor, y: Tensor, quantised: bool, compiled: bool, taught: bool = False
) -> Callable[[], None]:
    x = x.contiguous(memory_format=torch.channels_last)
    model = build("resnet20", 10).to(memory_format=torch.channels_last)
    teacher = Teacher(model, Distillation()) if taught else None
    if quantised:
        names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        bits = dict.fromkeys(names, 4) | dict.fromkeys((names[0], names[-1]), 8)
        signs = observe_signs(model, [x], names)
        replace_by_quantised_(model, {name: LayerBits(bits[name], bits[name], signs[name]) for name in names})
        calibrate_(model, [x])
    model.train()
    recipe = Recipe(peak_rate=0.01)
    sgd = optimiser(model, recipe)
    half = resolve_precision(recipe.precision, x.device) == "bfloat16"
    stepped = torch.compile(model) if compiled else model
    if teacher is not None:
        teacher.prepare_(x.device, compiled, half)

    def step() -> None:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
            logits = stepped(x)
        loss = F.cross_entropy(logits.float(), y, label_smoothing=recipe.label_smoothing)
        if teacher is not None:
            loss = teacher.losses(x, logits.float(), loss)[0]
        sgd.zero_grad(set_to_none=True)
        loss.backward()
        sgd.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    parser.add_argument(
        "--rounds", type=int, default=15, help="turns of each variant, %(default)s by default"
    )
    parser.add_argument(
        "--compiled", action="store_true", help="also measure torch.compile (needs a C++ compiler)"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    random = torch.Generator().manual_seed(0)
    x = torch.randn(BATCH, 3, 32, 32, generator=random)
    y = torch.randint(10, (BATCH,), generator=random)

    variants = {
        "plain": plain_step(x, y),
        "float": rankfold_step(x, y, quantised=False, compiled=False),
        "4-bit": rankfold_step(x, y, quantised=True, compiled=False),
        "taught": rankfold_step(x, y, quantised=True, compiled=False, taught=True),
    }
    if options.compiled:
        variants["float compiled"] = rankfold_step(x, y, quantised=False, compiled=True)
        variants["4-bit compiled"] = rankfold_step(x, y, quantised=True, compiled=True)
    for step in variants.values():
        for _ in range(3):
            step()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(options.rounds):
        for name, step in variants.items():
            start = time.perf_counter()
            for _ in range(STEPS):
                step()
            seconds[name].append((time.perf_counter() - start) / STEPS)

    precision = resolve_precision("auto", x.device)
    print(
        f"torch {torch.__version__}, {options.threads} threads, precision auto = {precision}, "
        f"{options.rounds} rounds"
    )
    for name, times in seconds.items():
        print(f"{name:15} {BATCH / statistics.median(times):8.0f} images/s")
    pairs = [("float", "plain"), ("4-bit", "float"), ("taught", "4-bit")]
    if options.compiled:
        pairs += [("float compiled", "float"), ("4-bit compiled", "float compiled")]
    for name, base in pairs:
        ratio = statistics.median(a / b for a, b in zip(seconds[name], seconds[base], strict=True))
        print(f"time of {name} / {base}: {ratio:.2f}")


if __name__ == "__main__":
    main()
