"""What a simulation found, in words."""

from __future__ import annotations

from rankfold.records.text_table import format_table
from rankfold.runs.simulation import LayerErrors, Simulation

HEADERS = [
    "layer, the worst alone first",
    "error alone",
    "accuracy alone",
    "SNR",
    "own SNR",
    "clipped",
    "activations",
]


def simulation_summary(simulation: Simulation) -> str:
    """The accuracy of the network, and on its arrays."""
    # A single chip has no deviation.
    spread = ""
    if simulation.deviation is not None:
        spread = f" +- {simulation.deviation:.2%}"
    lines = [
        f"array: {simulation.array}",
        *_hardware(simulation),
        f"quantised network: {simulation.ideal:.2%} of {simulation.images:,} test images",
        f"on its arrays:     {simulation.mean:.2%}{spread} ({_chips(simulation)})",
    ]
    for name, number in simulation.saturated.items():
        lines.append(f"{name}: {number} weights are too low for the cells, which hold the next higher one")
    if simulation.saturated:
        lines.append("(networks that are compressed for these cells leave that level out)")
    if simulation.digital:
        lines.append(f"left digital: {', '.join(simulation.digital)}")
    return "\n".join(lines)


def _hardware(simulation: Simulation) -> list[str]:
    """What else there is to say of the hardware, which may be that of a plan and not of the command."""
    if simulation.hardware.is_default:
        return []
    return [f"hardware: {simulation.hardware.name}"]


def _chips(simulation: Simulation) -> str:
    # One chip then stands for all, and no spread is missing.
    if not simulation.chosen.random:
        return "every chip is the same"
    number = len(simulation.accuracies)
    if number == 1:
        return "1 chip"
    return f"{number} chips"


def layer_table(simulation: Simulation) -> str:
    """The errors of every layer, the worst first."""
    # By blame at the end of the network: a layer may err much and matter little.
    ordered = sorted(simulation.layers, key=lambda layer: layer.blame, reverse=True)
    about = (
        f"\nLayers, on {simulation.layer_images:,} images (quantised network: {simulation.layer_ideal:.2%}). "
        "Alone: if only this\n"
        f"layer fell short (relative error of the logits, {simulation.measured}). SNR: of its output against "
        "the ideal run;\n"
        "own SNR: for the inputs that it really gets.\n"
    )
    first, error, _, *others = HEADERS
    headers = [first, error, f"{simulation.measured} alone", *others]
    return about + format_table(headers, [_row(layer) for layer in ordered])


def _row(layer: LayerErrors) -> list[str]:
    clipped = "-"
    if layer.clipped is not None:
        clipped = f"{layer.clipped:.2%}"
    return [
        layer.name,
        f"{layer.blame:.3f}",
        f"{layer.alone:.2%}",
        _decibels(layer.snr),
        _decibels(layer.own_snr),
        clipped,
        f"{layer.activations:,}",
    ]


def _decibels(value: float | None) -> str:
    # No error at all is no number of decibels.
    if value is None:
        return "exact"
    return f"{value:.1f} dB"
