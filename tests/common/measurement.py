"""A row of a grid's table, for tests that change what they need of it."""

from rankfold.reproduce.measure import Measurement

ROW = Measurement(
    cell="low-rank-g4-r1_8-b4-s0",
    method="low-rank",
    groups=4,
    rank="1/8",
    entries=None,
    block=None,
    ratio=None,
    bits=4,
    seed=0,
    epochs=3,
    baseline=0.92,
    before=0.5,
    accuracy=0.9,
    parameters=1000,
    array="64x64",
    mapping="sdk",
    steering="plain",
    cycles=800,
    conversions=9000,
    energy=5000.0,
)
