"""`SimulatedLayer`: a quantised layer whose integers go through arrays."""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankfold.calibration.samples import BatchError
from rankfold.nn.plain import CONV_ATTRIBUTES
from rankfold.nn.quantised import QuantConv2d, QuantLayer, use_all_levels_
from rankfold.simulator.arrays import LayerArrays
from rankfold.simulator.coding import CellCoding
from rankfold.simulator.converter import Converter, SumSample
from rankfold.simulator.draws import Draws
from rankfold.simulator.programming import Programmed
from rankfold.simulator.reading import Tally
from rankfold.workload.shape import Pair

# What code around a convolution or linear layer may ask it for.
OF_THE_LAYER = (*CONV_ATTRIBUTES, "in_features", "out_features", "weight", "bias")


class _StraightThrough(torch.autograd.Function):
    """The value of `simulated` with the gradient of `ideal`."""

    @staticmethod
    def forward(ctx: Any, ideal: Tensor, simulated: Tensor) -> Tensor:
        return simulated

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class SimulatedLayer(nn.Module):
    """A quantised convolution or linear layer, computed by the arrays that hold it.

    Its calibrated ADC ranges are no part of its state: calibrate a network again after loading one.

    Input and output are those of the layer, and so are gradients (straight through the arrays). In training
    mode the weights are programmed anew, with new noise, at every forward. In eval mode the arrays stay as
    `program_` left them. Asked for its stride, weight and the like, it gives those of the layer.

    Args:
        layer: the quantised layer, with its Parameter objects.
        name: its name in the network.
        arrays: for each input size (H, W) it runs on, the arrays that hold it.
        seed: fixes everything drawn at random.
    """

    draws: Tensor

    def __init__(
        self,
        layer: QuantLayer,
        name: str,
        arrays: MappingType[Pair, LayerArrays],
        seed: int,
    ) -> None:
        super().__init__()
        self.layer = layer
        self.name = name
        self.arrays = dict(arrays)
        self.seed = seed
        self.samples: dict[Pair, SumSample] = {}
        self.tally: Tally | None = None
        self.ideal = False  # leave all non-idealities out
        self.all_tiles = False  # go through the tiles even where one product gives the same
        self._converters: dict[Pair, Converter | None] = {}
        self._calibrating = False
        self._draw = 0
        self._programmed: dict[Pair, Programmed] = {}
        self._reading: torch.Generator | None = None
        # How often noise was drawn anew in training; saved with the state, so that a resumed run goes on as
        # it would have.
        self.register_buffer("draws", torch.zeros((), dtype=torch.int64))
        self.train(layer.training)

    def __getattr__(self, name: str) -> Any:
        if name in OF_THE_LAYER:
            return getattr(self.layer, name)
        return super().__getattr__(name)

    def forward(self, input: Tensor) -> Tensor:
        """Quantise the input, run the arrays, scale and add the bias."""
        if isinstance(self.layer, QuantConv2d) and input.ndim == 3:
            # One image without a batch, as nn.Conv2d takes it.
            return self(input[None])[0]
        if self.training:
            use_all_levels_(self.layer)  # before its levels are programmed
            self.draws += 1
            self.program_(self.seed, int(self.draws))
        if not torch.is_grad_enabled():
            return self._output(input)
        # The layer itself is run for its gradients alone.
        ideal: Tensor = self.layer(input)
        with torch.no_grad():
            simulated = self._output(input).to(ideal.dtype)
        output: Tensor = _StraightThrough.apply(ideal, simulated)  # type: ignore[no-untyped-call]
        return output

    @torch.no_grad()
    def accumulators(self, input: Tensor) -> Tensor:
        """(B, m, OH, OW) what the arrays and the digital sum after them give.

        In units of weight level times input level.

        Raises:
            InputError: the input has a size that the plan has no mapping for, or other channels, or the ADC
                range is not calibrated.
        """
        self._check_channels(input)
        size = self._size(input)
        arrays = self.arrays[size]
        levels = self._levels(input)
        lowest = arrays.input_coding.lowest
        if lowest > self.layer.input_quantiser.low:
            levels.clamp_(min=lowest)
        weight = self._weight()
        if self.ideal:
            return self._exact(arrays, levels, weight)
        converter = None
        if not self._calibrating:
            converter = self.converter(size)
        self._count(arrays, len(levels))
        needs_tiles = self.all_tiles or self._calibrating
        if arrays.is_exact(converter) and not needs_tiles:
            return self._exact(arrays, levels, weight)
        if size not in self._programmed:
            self.program_(self.seed, int(self.draws))
        return arrays.run(
            levels,
            self._on(size, levels.device),
            converter,
            self._noise(levels.device),
            tally=self.tally,
            sample=self._sample(size),
        )

    def _count(self, arrays: LayerArrays, images: int) -> None:
        if self.tally is None:
            return
        self.tally.images += images
        self.tally.activations += images * arrays.cycles
        self.tally.conversions += images * arrays.conversions

    def _sample(self, size: Pair) -> SumSample | None:
        """Where sums are gathered: only while calibrating, and only for converters."""
        if not self._calibrating:
            return None
        if self.arrays[size].chosen.adc_bits is None:
            return None
        return self.samples.setdefault(size, SumSample())

    def converter(self, size: Pair) -> Converter | None:
        """The converter of the arrays for inputs of `size` (H, W); None where sums are read exactly.

        Raises:
            InputError: its range is to be calibrated and never was.
        """
        if size not in self._converters:
            arrays = self.arrays[size]
            self._converters[size] = Converter.of(
                arrays.chosen,
                arrays.sums,
                self.name,
                self.samples.get(size),
            )
        return self._converters[size]

    def set_adc_bits_(self, bits: int) -> None:
        """Exchange the converters for others; sums that were gathered for calibrated ranges stay.

        Raises:
            InputError: there can be no such converters.
        """
        for size, arrays in self.arrays.items():
            self.arrays[size] = replace(arrays, chosen=replace(arrays.chosen, adc_bits=bits))
        self._converters.clear()

    def calibrate_(self, gather: bool) -> None:
        """Begin (True) or end to gather the sums that a calibrated ADC range is chosen for."""
        self._calibrating = gather
        if gather:
            self.samples.clear()
            self._converters.clear()

    @torch.no_grad()
    def ideal_accumulators(self, input: Tensor) -> Tensor:
        """(B, m, OH, OW) the convolution of the integers, exact."""
        levels = self._levels(input)
        arrays = self.arrays[self._size(input)]
        return self._exact(arrays, levels, self.layer.integer_weights())

    @property
    def saturated(self) -> int:
        """Weights too low for the cells, which hold the lowest they can instead."""
        weights = self.layer.integer_weights()
        too_low = weights < self._cell_coding.lowest
        return int(too_low.sum())

    @torch.no_grad()
    def program_(self, seed: int, draw: int = 0) -> None:
        """Program the weights of now into all arrays, as must be done after they were changed in eval mode.

        Args:
            seed: of programming and of the reads that follow.
            draw: number of the programming under this seed.
        """
        self.seed = seed
        self._draw = draw
        # One for all sizes: the arrays of each have noise of their own.
        draws = Draws(seed, self.name, draw)
        weight = self._weight().cpu()
        self._programmed = {}
        for size, arrays in self.arrays.items():
            self._programmed[size] = arrays.program(weight, draws)
        self._reading = None

    def train(self, mode: bool = True) -> SimulatedLayer:
        """As of every module; after training, the weights are programmed anew before the next forward."""
        if self.training and not mode:
            self._programmed.clear()
        super().train(mode)
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._programmed.clear()

    @torch.no_grad()
    def ideal_output(self, input: Tensor) -> Tensor:
        """The output of the layer for an input if its arrays were ideal and held every weight."""
        return self._scaled(self.ideal_accumulators(input), input)

    def _output(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):  # integers need all their bits
            return self._scaled(self.accumulators(input), input)

    def _scaled(self, result: Tensor, input: Tensor) -> Tensor:
        """The output of the layer from its accumulators (B, m, OH, OW)."""
        layer = self.layer
        weight_scale = layer.weight_quantiser.scale.double()
        input_scale = layer.input_quantiser.scale.double()
        scale = weight_scale * input_scale
        if input.dtype != torch.float64:
            scale = scale.to(result.dtype)
        result = result * scale
        if layer.bias is not None:
            bias = layer.bias.detach().to(result.dtype)
            result += bias.view(-1, 1, 1)
        if not isinstance(layer, QuantConv2d):
            *batch, _ = input.shape
            result = result.reshape(*batch, -1)  # (..., m)
        return result.to(layer.weight.dtype)

    def _check_channels(self, input: Tensor) -> None:
        """Refuse what the layer itself would refuse: rows of the arrays would stand for other inputs."""
        layer = self.layer
        if isinstance(layer, QuantConv2d):
            given, taken = input.shape[-3], layer.in_channels
        else:
            given, taken = input.shape[-1], layer.in_features
        if given != taken:
            raise BatchError(f"layer {self.name}: an input of {given} channels; its arrays take {taken}")

    def _size(self, input: Tensor) -> Pair:
        """The (H, W) that the arrays of this input go by; a linear layer takes one vector after another."""
        height, width = 1, 1
        if isinstance(self.layer, QuantConv2d):
            *_, height, width = input.shape
        if (height, width) not in self.arrays:
            known = []
            for rows, columns in self.arrays:
                known.append(f"{rows}x{columns}")
            raise BatchError(
                f"layer {self.name}: an input of {height}x{width} was not planned for; "
                f"its arrays take {', '.join(known)}"
            )
        return height, width

    def _levels(self, input: Tensor) -> Tensor:
        """Integer inputs of a floating type.

        They are (B, C_in, H, W), or (B, C_in, Hp, Wp) where the padding is not zeros.
        """
        layer = self.layer
        levels = layer.input_quantiser.levels(input)
        if not isinstance(layer, QuantConv2d):
            inputs = levels.shape[-1]
            return levels.reshape(-1, inputs, 1, 1)
        if layer.padding_mode == "zeros":
            return levels
        # Levels instead of values: the padding repeats pixels, and so their levels.
        arrays = self.arrays[self._size(input)]
        top, bottom, left, right = arrays.schedule.padding
        borders = (left, right, top, bottom)
        return F.pad(levels, borders, mode=layer.padding_mode)

    @property
    def _cell_coding(self) -> CellCoding:
        """How weights are stored, which is the same in the arrays of all sizes."""
        arrays = next(iter(self.arrays.values()))
        return arrays.cell_coding

    def _weight(self) -> Tensor:
        """(m, C_in/G, kh, kw) integers as the cells hold them."""
        weights = self.layer.integer_weights()
        return weights.clamp(min=self._cell_coding.lowest)

    def _exact(self, arrays: LayerArrays, levels: Tensor, weight: Tensor) -> Tensor:
        layer = self.layer
        if not isinstance(layer, QuantConv2d):
            return arrays.exact(levels, weight, (1, 1), (1, 1), 1)
        stride_y, stride_x = layer.stride
        dilation_y, dilation_x = layer.dilation
        return arrays.exact(
            levels,
            weight,
            (stride_y, stride_x),
            (dilation_y, dilation_x),
            layer.groups,
        )

    def _on(self, size: Pair, device: torch.device) -> Programmed:
        """The cells of the arrays for a size, on the device of the inputs; they are programmed on the CPU."""
        held = self._programmed[size]
        if held.cells and held.cells[0][0].held.device != device:
            held = held.to(device)
            self._programmed[size] = held
        return held

    def _noise(self, device: torch.device) -> torch.Generator:
        """Draws read noise; it goes on from batch to batch, and begins anew with each programming."""
        if self._reading is None or self._reading.device != device:
            draws = Draws(self.seed, self.name, self._draw)
            seed = draws.mix("reads")
            self._reading = torch.Generator(device).manual_seed(seed)
        return self._reading
