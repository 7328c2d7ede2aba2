"""Cells as they are programmed and age; lines with resistance, against a solved network of resistors."""

import numpy as np
import pytest
import torch
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve

from rankfold.errors import InputError
from rankfold.simulator import PCM, NonIdealities
from rankfold.simulator.devices import age, age_signed, drop_on_lines
from rankfold.simulator.draws import Draws

CELLS = 200_000


def aged(target, seed=0, **chosen):
    g = torch.full((CELLS,), float(target), dtype=torch.float64)
    return age(g, NonIdealities(**chosen), Draws(seed, "layer"))


def close(found, wanted, error):
    """Within five standard errors."""
    assert abs(float(found) - wanted) < 5 * error, (float(found), wanted)


def test_gaussian_programming_noise_is_relative_to_the_range():
    _, g = aged(0.5, program_noise=0.03)
    close(g.mean(), 0.5, 0.03 / CELLS**0.5)
    close(g.std(), 0.03, 0.03 / (2 * CELLS) ** 0.5)
    assert aged(0.0, program_noise=0.03)[1].min() == 0


@pytest.mark.parametrize("g", [0.2, 0.5, 1.0])
def test_pcm_programming_noise_follows_the_fit(g):
    """Nandakumar et al. 2019: sigma = -1.1731 g^2 + 1.9650 g + 0.2635 microsiemens, of at most 25."""
    microsiemens = -1.1731 * g**2 + 1.9650 * g + 0.26348
    _, found = aged(g, program_noise=PCM)
    close(found.mean() * 25, 25 * g, microsiemens / CELLS**0.5)
    close(found.std() * 25, microsiemens, microsiemens / (2 * CELLS) ** 0.5)


@pytest.mark.parametrize(
    ("g", "mean", "deviation"), [(1.0, 0.049, 0.008), (0.1, 0.0601, 0.0229), (1e-3, 0.1, 0.045)]
)
def test_drift_follows_the_fit(g, mean, deviation):
    """By hand, with t0 = 20 s.

    nu = |N(clip(-0.0155 ln g + 0.0244, 0.049, 0.1), clip(-0.0125 ln g - 0.0059, 0.008, 0.045))|
    """
    programmed, found = aged(g, drift=86400.0)
    nu = -torch.log(found / programmed) / np.log((86400 + 20) / 20)
    draws = np.abs(np.random.default_rng(0).normal(mean, deviation, CELLS))
    close(nu.mean(), draws.mean(), 2e-4)
    close(nu.std(), draws.std(), 2e-4)


def test_pcm_read_noise_follows_the_fit():
    """sigma = g min(0.0088 / g^0.65, 0.2) sqrt(ln((t + t_read) / (2 t_read))), t = 20 s at the first read."""
    programmed, found = aged(0.25, read_noise=PCM)
    wanted = 0.0088 / 0.25**0.65 * np.sqrt(np.log((20 + 250e-9) / 500e-9))
    assert (programmed == 0.25).all()
    close((found / 0.25).std(), wanted, wanted / (2 * CELLS) ** 0.5)
    # An hour later the noise has grown, and the spread of nu comes on top, (t/t0)^-nu with nu of deviation
    # 0.008.
    later = aged(1.0, read_noise=PCM, drift=3600.0)[1]
    wanted = np.hypot(0.0088 * np.sqrt(np.log((3620 + 250e-9) / 500e-9)), 0.008 * np.log(3620 / 20))
    assert float((later / later.mean()).std()) == pytest.approx(wanted, rel=0.02)


def test_each_effect_draws_for_itself():
    """Two chips that differ in one effect have all others in common."""
    alone, both = aged(0.5, program_noise=0.1)[1], aged(0.5, program_noise=0.1, stuck=0.3)[1]
    free = (both != 0) & (both != 1)
    assert torch.equal(alone[free], both[free])
    stuck = aged(0.5, stuck=0.3)[1] != 0.5
    assert torch.equal(stuck, ~free)


def test_drift_is_told_apart_from_stuck_cells():
    """Both conductances that a compensation compares have the stuck cells."""
    programmed, read = aged(0.5, drift=1e-9, stuck=0.3)
    torch.testing.assert_close(programmed, read)


def test_stuck_cells_are_as_many_as_asked_for():
    _, g = aged(0.5, stuck=0.1, stuck_high=0.25)
    for value, share in ((0.0, 0.075), (1.0, 0.025), (0.5, 0.9)):
        close((g == value).double().mean(), share, (share * (1 - share) / CELLS) ** 0.5)


def test_signed_cells_are_pairs():
    target = torch.tensor([-1.0, -0.5, 0, 0.5, 1]).repeat(20_000).double()
    draw = Draws(0, "layer")
    _, gaussian = age_signed(target, NonIdealities(program_noise=0.05), draw)
    close((gaussian - target).std(), 0.05, 0.05 / (2 * len(target)) ** 0.5)
    _, drifted = age_signed(target, NonIdealities(drift=3600.0), draw)
    assert (drifted.sign() == target.sign()).all() and (drifted.abs() <= target.abs()).all()
    _, stuck = age_signed(target, NonIdealities(stuck=1.0, stuck_high=1.0), draw)
    assert (stuck == 0).all()  # both cells of every pair are fully on


def solve_lines(g, resistance, rows, inputs):
    """Column currents by Kirchhoff's laws: word lines driven on the left, columns grounded below `rows`."""
    height, width = g.shape
    count = height * width
    matrix, right = lil_matrix((2 * count, 2 * count)), np.zeros(2 * count)
    wire = 1 / resistance

    def join(a, b, conductance):
        matrix[a, a] += conductance
        matrix[b, b] += conductance
        matrix[a, b] -= conductance
        matrix[b, a] -= conductance

    for i in range(height):
        for j in range(width):
            word, bit = i * width + j, count + i * width + j
            join(word, bit, g[i, j])
            if j == 0:
                matrix[word, word] += wire
                right[word] += wire * inputs[i]
            else:
                join(word, word - 1, wire)
            if i < height - 1:
                join(bit, bit + width, wire)
            else:  # the rest of the column, down to the converter
                matrix[bit, bit] += wire / (rows - height + 1)
    voltage = spsolve(matrix.tocsr(), right)
    bottom = voltage[count + (height - 1) * width :]
    return bottom * wire / (rows - height + 1)


@pytest.mark.parametrize(("height", "width", "rows"), [(6, 5, 6), (4, 8, 10), (8, 1, 8), (1, 8, 3)])
def test_line_resistance_is_right_to_first_order(height, width, rows):
    """Halving the resistance quarters what the first order leaves out."""
    draw = np.random.default_rng(0)
    g, inputs = draw.random((height, width)), draw.integers(0, 4, height).astype(float)
    left_out = []
    for resistance in (2e-4, 1e-4):
        exact = solve_lines(g, resistance, rows, inputs)
        kept = drop_on_lines(torch.from_numpy(g), resistance, rows, "conv").numpy()
        lost = np.abs(inputs @ g - exact).max()
        left_out.append(np.abs(inputs @ kept - exact).max())
        assert left_out[-1] < 0.03 * lost
    assert left_out[0] / left_out[1] == pytest.approx(4, rel=0.1)


def test_too_much_resistance_is_refused():
    with pytest.raises(
        InputError, match=r"layer conv: ir_drop \(=0.5\) is too large for a first-order model of 8x8 cells"
    ):
        drop_on_lines(torch.ones(8, 8), 0.5, 8, "conv")


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"adc_bits": 0}, r"adc_bits \(=0\) must be a whole number from 1 to 16"),
        ({"adc_bits": 17}, r"adc_bits \(=17\) must be"),
        ({"adc_bits": 6.0}, r"adc_bits \(=6.0\) must be"),
        (
            {"adc_range": "wide"},
            r"adc_range \(=wide\) must be calibrated, full or a positive number of cells",
        ),
        ({"adc_range": 0.0}, r"adc_range \(=0.0\) must be"),
        (
            {"program_noise": -0.1},
            r"program_noise \(=-0.1\) must be 0 or more, relative to a cell's range, or `pcm`",
        ),
        ({"read_noise": float("nan")}, r"read_noise \(=nan\) must be"),
        ({"stuck": 1.5}, r"stuck \(=1.5\) must be a share from 0 to 1"),
        ({"drift": -1.0}, r"drift \(=-1.0\) must be a time in seconds, 0 or more"),
        ({"ir_drop": -1e-4}, r"ir_drop \(=-0.0001\) must be a number, 0 or more"),
        ({"output_noise": True}, r"output_noise \(=True\) must be a number"),
    ],
)
def test_impossible_arrays_are_refused(chosen, message):
    with pytest.raises(InputError, match=message):
        NonIdealities(**chosen)
