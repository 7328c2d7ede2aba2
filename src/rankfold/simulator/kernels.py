"""The activations of a strip of tiles in one pass, compiled from `kernels.c` at first use.

Torch gathers the inputs of every activation, multiplies, rounds, clips, shifts and adds in passes of their
own over millions of sums, most of whose cells are zeros of shifted copies. The kernel leaves zeros out and
keeps sums in registers. `kernels()` is None where this machine cannot compile it (`c_libraries`), and torch
is used.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from rankfold.c_libraries import compiled

SOURCE = Path(__file__).with_name("kernels.c")
LANES = 64  # as in the source
_POINTER, _COUNT, _FLAG = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int


class _Strip(ctypes.Structure):
    """As in the source."""

    _fields_ = (
        *((name, _POINTER) for name in ("start", "reference", "row", "cell")),
        *((name, _COUNT) for name in ("rows", "outputs", "cells", "references")),
    )


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of a strip that are not zero, column by column.

    Attributes:
        start: (columns + 1,) number of the first cell of each column.
        row: of each cell, int32: half the memory that torch's own numbers of rows take.
        value: of each cell; kernels take float32.
        reference: (outputs,) number of the reference column of each column of weights.
        rows: r.
        outputs: columns of weights.
        cells: J, columns of cells for each.
        references: further columns.
    """

    start: Tensor
    row: Tensor
    value: Tensor
    reference: Tensor
    rows: int
    outputs: int
    cells: int
    references: int

    @classmethod
    def of(cls, held: Tensor, widths: tuple[int, ...], cells: int) -> Cells:
        """List the cells of a strip.

        Args:
            held: (J * c + references, r) as `StripCells` has them.
            widths: columns of each tile, c in all.
            cells: J.
        """
        column, row = held.nonzero(as_tuple=True)
        columns, rows = held.shape
        start = torch.zeros(columns + 1, dtype=torch.int64)
        torch.cumsum(column.bincount(minlength=columns), 0, out=start[1:])
        outputs = sum(widths)
        references = columns - cells * outputs
        # One of each tile, or one for all.
        of_tile = torch.arange(len(widths)).clamp(max=max(references - 1, 0))
        reference = of_tile.repeat_interleave(torch.tensor(widths))
        value = held[column, row].contiguous()
        return cls(start, row.to(torch.int32), value, reference, rows, outputs, cells, references)

    def scaled(self, factor: float) -> Cells:
        """The same cells, each times a factor, in float32."""
        return replace(self, value=self.value.to(torch.float32) * factor)

    @property
    def _in_c(self) -> _Strip:
        pointers = (tensor.data_ptr() for tensor in (self.start, self.reference, self.row, self.value))
        return _Strip(*pointers, self.rows, self.outputs, self.cells, self.references)


@dataclass(frozen=True, eq=False)
class Codes:
    """What converters make of sums, and what codes count for.

    Attributes:
        low: the lowest code.
        high: the highest.
        factors: (J + 1, S) float32, of each cell and input slice; the last line, of references.
        counts: whether references are counted exactly, and not converted.
    """

    low: int
    high: int
    factors: Tensor
    counts: bool


class ArrayKernels:
    """The functions of the compiled library, on float32 tensors of the CPU.

    Args:
        made: the library, as `ctypes` loaded it.
    """

    def __init__(self, made: ctypes.CDLL) -> None:
        self._read = made.read_strip
        self._read.argtypes = (
            ctypes.POINTER(_Strip),
            *(_POINTER,) * 2,
            *(_COUNT,) * 3,
            _POINTER,
            _FLAG,
            ctypes.c_float,
            ctypes.c_float,
            *(_POINTER,) * 4,
            _FLAG,
        )
        self._read.restype = _COUNT

    def read(
        self,
        cells: Cells,
        lines: Tensor,
        places: Tensor,
        slices: int,
        *,
        codes: Codes,
        totals: list[Tensor],
        fresh: list[bool],
    ) -> int:
        """Read a strip in all its activations, and add what its columns give to their totals.

        Args:
            cells: of the strip, over the converters' step.
            lines: (places, S * B) inputs.
            places: (a, r) int64, the line that drives each row.
            slices: S.
            codes: how sums are converted.
            totals: (a, w, B) float32 of each tile.
            fresh: of each tile, whether its totals are set rather than added to.

        Returns:
            how many conversions clipped.
        """
        images = lines.shape[1] // slices
        target, step, new = [], [], []
        for total, is_new in zip(totals, fresh, strict=True):
            width = total.shape[1]
            target += [total.data_ptr() + column * images * total.element_size() for column in range(width)]
            step += [width * images] * width
            new += [is_new] * width
        addresses = torch.tensor(target, dtype=torch.int64)
        steps = torch.tensor(step, dtype=torch.int64)
        set_first = torch.tensor(new, dtype=torch.uint8)
        threads = torch.get_num_threads()
        scratch = torch.empty(threads, cells.references, slices, LANES)
        strip = cells._in_c
        clipped: int = self._read(
            ctypes.byref(strip),
            lines.data_ptr(),
            places.data_ptr(),
            len(places),
            slices,
            images,
            codes.factors.data_ptr(),
            codes.counts,
            codes.low,
            codes.high,
            addresses.data_ptr(),
            steps.data_ptr(),
            set_first.data_ptr(),
            scratch.data_ptr(),
            threads,
        )
        return clipped


@functools.cache
def kernels() -> ArrayKernels | None:
    """The compiled kernels, or None where this machine has no compiler for them."""
    return compiled(SOURCE, ArrayKernels)
