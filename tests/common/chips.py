"""Small chips and networks, drawn by Hypothesis."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from rankfold.machine import Buffer, ChipSpec, Cores, Hardware, Interconnect, OffChip
from rankfold.mapping import ArraySpec
from rankfold.workload import ConvShape, Network
from rankfold.workload.flow import INPUT, FlowRecorder

FAST = 1e15  # per ns: nobody waits for it


def chip(
    *,
    cores: int = 8,
    arrays: int = 8,
    kind: str = "mesh",
    rate: float = 64.0,
    rows: int = 32,
    buffer: int = 1 << 30,
) -> ChipSpec:
    """A chip of square arrays with buffers that hold everything."""
    array = ArraySpec(rows, rows, cell_bits=2, dac_bits=1, coding="differential", converts="differences")
    return ChipSpec(
        name="small",
        hardware=Hardware(name="small", array=array),
        cores=Cores(count=cores, arrays=arrays, rate=16.0, energy=20.0),
        buffer=Buffer(size=buffer, rate=256.0, energy=100.0),
        interconnect=Interconnect(kind=kind, rate=rate, energy=50.0, latency=2.0),
        memory=OffChip(rate=200.0, energy=20000.0),
    )


def without_waits(described: ChipSpec) -> ChipSpec:
    """The same chip, in which nobody waits for units, buffers, links and memory."""
    return replace(
        described,
        memory=OffChip(rate=FAST, energy=1.0),
        cores=replace(described.cores, rate=FAST),
        buffer=replace(described.buffer, rate=FAST),
        interconnect=replace(described.interconnect, rate=FAST),
    )


@st.composite
def chips(draw: st.DrawFn) -> ChipSpec:
    """A small chip, with buses and meshes that are slow or fast."""
    return chip(
        cores=draw(st.integers(1, 4)) * 4,
        arrays=draw(st.integers(2, 12)),
        kind=draw(st.sampled_from(["bus", "mesh"])),
        rate=draw(st.sampled_from([4.0, 64.0, 1024.0])),
        rows=draw(st.sampled_from([32, 64])),
    )


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Convolutions of several kernels and strides, pooling between them, residual sums, and a classifier."""
    channels, height, width = draw(st.integers(1, 4)), draw(st.integers(4, 10)), draw(st.integers(4, 10))
    image = (channels, height, width)
    layers: list[ConvShape] = []
    flow = FlowRecorder()
    made_by = INPUT
    for number in range(draw(st.integers(1, 4))):
        before = channels, (height, width), made_by
        kernel, stride = draw(st.sampled_from([1, 3, 5])), draw(st.sampled_from([1, 1, 2]))
        residual = number > 0 and draw(st.booleans())
        if residual:
            stride = 1
        out = channels if residual else draw(st.integers(1, 8))
        # Now and then more than half: then some windows lie in the padding alone.
        pad = kernel // 2 + draw(st.sampled_from([0, 0, 0, 1])) * (not residual)
        shape = ConvShape(
            f"conv{number}",
            channels,
            out,
            (kernel, kernel),
            (height, width),
            (stride, stride),
            padding=(pad, pad, pad, pad),
        )
        layers.append(shape)
        flow.layer(shape.name, made_by)
        channels, (height, width), made_by = out, shape.output, shape.name
        if residual:
            values = channels * height * width
            made_by = flow.join(((before[2], values), (made_by, values)), values, (height, width))
        # Pooling: what the next layer reads has a smaller plane.
        if not residual and min(height, width) >= 4 and draw(st.booleans()):
            height, width = height // 2, width // 2
    layers.append(ConvShape("fc", channels, 5, (1, 1), (1, 1), kind="linear"))
    flow.layer("fc", made_by)
    return Network("drawn", image, tuple(layers), flow=flow.flow(layers))
