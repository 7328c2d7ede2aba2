"""What becomes of a cell: programming, time, defects, and the resistance of the lines that lead to it.

Conductances g are relative to the highest one, 0 to 1. The phase-change fits are those of Nandakumar et al.,
"Phase-change memory models for deep learning training and inference", ICECS 2019, also used by Joshi et al.,
Nature Communications 11 (2020). They were measured on cells of at most 25 microsiemens.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from rankfold.errors import InputError
from rankfold.machine import PCM, NonIdealities
from rankfold.simulator.draws import Draws

PCM_HIGHEST = 25.0  # microsiemens
PCM_FIRST_READ = 20.0  # t0, seconds: conductances are defined 20 s after programming
PCM_READ_TIME = 250e-9  # seconds


def age(target: Tensor, chosen: NonIdealities, draws: Draws) -> tuple[Tensor, Tensor]:
    """Conductances as programmed and as read later, of cells that should have `target`.

    Args:
        target: g, relative, 0 to 1.
        chosen: program_noise, drift, read_noise (where it is `pcm`) and stuck.
        draws: where random numbers come from.

    Returns:
        (just programmed, at the time of reading).
    """
    programmed = _programmed(target, chosen, draws)
    elapsed = PCM_FIRST_READ
    read = programmed
    if chosen.drift:
        elapsed += chosen.drift
        nu = _drift_coefficient(target, draws)
        ratio = elapsed / PCM_FIRST_READ  # t / t0
        read = read * ratio**-nu
    if chosen.read_noise == PCM:
        # The longer the time, the lower the frequencies that have had their part in 1/f noise.
        reads = (elapsed + PCM_READ_TIME) / (2 * PCM_READ_TIME)
        accumulated = math.sqrt(math.log(reads))
        powers = programmed.pow(0.65).clamp(min=1e-3)  # of zero, a reciprocal would be infinite
        strength = (0.0088 / powers).clamp(max=0.2)
        noise = _normal(read, draws.of("read"))
        read = read + read * strength * accumulated * noise
        read = read.clamp(min=0)
    if chosen.stuck:
        draw = draws.of("stuck")
        place = torch.rand(read.shape, generator=draw, dtype=read.dtype)
        # One draw says both whether a cell is stuck and where, so that the shares can be changed apart.
        is_stuck = place < chosen.stuck
        is_high = place < chosen.stuck * chosen.stuck_high
        level = is_high.to(read.dtype)
        programmed = torch.where(is_stuck, level, programmed)
        read = torch.where(is_stuck, level, read)
    return programmed, read


def _programmed(target: Tensor, chosen: NonIdealities, draws: Draws) -> Tensor:
    if chosen.program_noise == PCM:
        fit = -1.1731 * target**2 + 1.9650 * target + 0.26348  # microsiemens
        deviation = fit.clamp(min=0) / PCM_HIGHEST
    elif chosen.program_noise:
        deviation = target.new_tensor(float(chosen.program_noise))
    else:
        return target
    noise = _normal(target, draws.of("program"))
    g = target + deviation * noise
    return g.clamp(min=0)  # no cell conducts less than nothing


def _drift_coefficient(target: Tensor, draws: Draws) -> Tensor:
    """nu of each cell: a conductance falls as (t / t0)^-nu."""
    # The coefficients were fitted over the target; a cell without conductance has none to lose.
    logarithm = target.clamp(min=1e-7).log()
    mean = -0.0155 * logarithm + 0.0244
    mean = mean.clamp(0.049, 0.1)
    deviation = -0.0125 * logarithm - 0.0059
    deviation = deviation.clamp(0.008, 0.045)
    noise = _normal(target, draws.of("drift"))
    coefficient = mean + deviation * noise
    return coefficient.abs()


def age_signed(target: Tensor, chosen: NonIdealities, draws: Draws) -> tuple[Tensor, Tensor]:
    """As `age`, for cells that hold a signed weight, -1 to 1.

    Gaussian programming noise is added to the weight itself. Where the noise depends on the conductance, or a
    cell drifts or is stuck, the weight is a pair of cells, of which one is at zero.
    """
    if chosen.program_noise not in (0, PCM):
        noise = _normal(target, draws.of("program"))
        target = target + float(chosen.program_noise) * noise
        chosen = replace(chosen, program_noise=0.0)
    if not chosen.changes_cells:
        return target, target
    # In this order: the second draws where the first left off.
    positive = target.clamp(min=0)
    plus, plus_read = age(positive, chosen, draws)
    negative = (-target).clamp(min=0)
    minus, minus_read = age(negative, chosen, draws)
    return plus - minus, plus_read - minus_read


def drop_on_lines(g: Tensor, resistance: float, rows: int, layer: str) -> Tensor:
    """Conductances that give the sums which line resistance leaves, to first order in it.

    Word lines are driven from the left, columns are read at the bottom, the tile sits in the upper left
    corner. The current of each cell, as it would be without resistance, makes the voltage drop on every
    segment that it passes. With rho the resistance of a segment times the highest conductance, word line i
    has dropped by rho v_i sum_c (min(j, c) + 1) g_ic at column j, and column j has risen by rho sum_i (R -
    max(i, k)) g_ij v_i at row k. In the sum over rows both are proportional to the input of one row, so each
    cell keeps a fixed share of its conductance:

        g'_kj = g_kj (1 - rho sum_c (min(j, c) + 1) g_kc - rho sum_i (R - max(i, k)) g_ij)

    Args:
        g: (r, c) of all columns in their physical order.
        resistance: rho, of a segment times the highest conductance.
        rows: R, physical rows from the first of these down to the converters.
        layer: its name, for the error.

    Raises:
        InputError: a cell would lose more than its whole current, where a first order says nothing.
    """
    height, width = g.shape
    row = torch.arange(height, dtype=g.dtype)
    column = torch.arange(width, dtype=g.dtype)
    # Segments that two currents share: of a word line up to the nearer cell, of a column from the lower cell
    # on.
    nearer = torch.minimum(column[:, None], column)  # (c, c)
    shared_words = nearer + 1
    lower = torch.maximum(row[:, None], row)  # (r, r)
    shared_columns = rows - lower
    along_words = g @ shared_words
    along_columns = shared_columns @ g
    lost = resistance * (along_words + along_columns)
    kept = 1 - lost
    if bool((kept < 0).any()):
        raise InputError(
            f"layer {layer}: ir_drop (={resistance}) is too large for a first-order model of "
            f"{height}x{width} cells: the lines would take more than a cell's whole current; "
            "use a lower value or smaller arrays"
        )
    return g * kept


def _normal(like: Tensor, draw: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=draw, dtype=like.dtype)
