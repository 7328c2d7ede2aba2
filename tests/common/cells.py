"""Arrays with real cells, for tests that do not mind which."""

from rankfold.mapping import ArraySpec

CELLS = ArraySpec(64, 64, cell_bits=2, dac_bits=1)
