"""Going back through a network: the inputs of its layers, and the gradients over their outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rankfold.calibration.layer_moments import layers_of
from rankfold.calibration.observation import evaluating, observing
from rankfold.calibration.output_losses import OutputLoss, Outputs, ScoreLoss, differentiable, tops_of
from rankfold.calibration.patches import Layer
from rankfold.calibration.samples import Inputs, call, cut, map_tensors, size_of
from rankfold.errors import InputError

# Values that layers and norms may give for the images that go back together, as many as 500 small images of
# ResNet-20 do. All are kept for the way back: 0.8 GB, and half as much again for copies.
KEPT = 200_000_000
KEEPING = nn.Conv2d, nn.Linear, _BatchNorm


@dataclass(frozen=True)
class LayerRun:
    """One call of a layer.

    Attributes:
        layer: the layer, or what else says which patches of its inputs count.
        inputs: what it read.
        gradient: of the summed loss over its outputs, one vector for each patch.
    """

    layer: Layer
    inputs: Tensor
    gradient: Tensor

    def output_gradient(self, groups: int, images: int) -> Tensor:
        """(B, G, m/G, P) gradients of `images` images, whose positions of one call follow each other.

        Raises:
            InputError: the layer does not run on the same number of inputs for each image.
        """
        gradient = self.gradient
        if isinstance(self.layer, nn.Linear):
            leading = 1
            if gradient.dim() > 1:
                leading = len(gradient)
            gradient = gradient.reshape(leading, -1, gradient.shape[-1])  # (B, P, m)
            gradient = gradient.transpose(1, 2)
        gradient = gradient.flatten(2)  # (B, m, P)
        parts, _, positions = gradient.shape
        gradient = gradient.reshape(parts, groups, -1, positions)
        return by_image(gradient, images)


def by_image(values: Tensor, images: int) -> Tensor:
    """(k*B, G, c, P), k parts of each image one after another, as (B, G, c, k*P).

    Raises:
        InputError: there are not as many parts of each image.
    """
    if len(values) % images:
        raise InputError(
            f"a layer runs on {len(values)} inputs for {images} images; "
            "sensitivities need the same number for each image"
        )
    share = len(values) // images
    parts = values.reshape(images, share, *values.shape[1:])  # (B, k, G, c, P)
    return parts.movedim(1, 3).flatten(3)


@dataclass(frozen=True)
class Backward:
    """A way back through a network for each batch, as often as wanted, each time with the same draws.

    What is gone back from are gradients over the outputs that are drawn from the network's own outputs, as by
    labels from softmax(z / T) of its scores z (see `calibration.output_losses`). They are drawn for a whole
    batch, also where so much is kept for the way back that only some of its images fit at a time: then the
    outputs come from a way forward alone.

    Attributes:
        model: the network; in eval mode while it runs, then as before.
        batches: inputs of the model, on its device.
        names: of convolutions and linear layers.
        seed: of the draws; torch's own random state is left alone.
        temperature: T, of scores.
        find: the modules of these names, in the network; others may be of any type.
        loss: what errors of the outputs cost.
    """

    model: nn.Module
    batches: Sequence[Inputs]
    names: Sequence[str]
    seed: int
    temperature: float
    find: Callable[[nn.Module, Iterable[str]], Mapping[str, Any]] = layers_of
    loss: OutputLoss = field(default_factory=ScoreLoss)

    def __iter__(self) -> Iterator[tuple[str, list[LayerRun], int]]:
        """For each batch, or part of one, and each layer: the name, the runs, and the number of images."""
        draw = torch.Generator().manual_seed(self.seed)
        for batch in self.batches:
            parts = list(self._parts(batch))
            ascents: Sequence[Outputs | None] = [None] * len(parts)
            if len(parts) > 1:
                ascents = self._drawn(parts, draw)
            for part, ascent in zip(parts, ascents, strict=True):
                runs = self._runs(part, ascent, draw)
                for name in self.names:
                    # Taken out, so that a layer's tensors are freed before those of the next one are used.
                    yield name, runs.pop(name), size_of(part)

    def _parts(self, batch: Inputs) -> Iterator[Inputs]:
        """The batch, cut where the way back of all its images would keep too much."""
        size, values = size_of(batch), 0

        def count(name: str, _: nn.Module, inputs: Tensor, output: Tensor) -> None:
            nonlocal values
            values += output.numel()

        # Not only the layers that are asked for: the way back leads through all of them.
        modules = dict(self.model.named_modules())
        layers = {name: one for name, one in modules.items() if isinstance(one, KEEPING)}
        with evaluating(self.model), torch.no_grad(), observing(layers, after=count):
            call(self.model, cut(batch, size, 0, 1))
        images = max(1, KEPT // max(1, values))
        if images >= size:
            yield batch
            return
        for start in range(0, size, images):
            yield cut(batch, size, start, min(start + images, size))

    def _drawn(self, parts: Sequence[Inputs], draw: torch.Generator) -> Sequence[Outputs | None]:
        """The ascents of the parts of a batch, drawn for all of it, of a way forward alone; None: each part's
        are drawn on its own way.
        """
        sizes = [size_of(part) for part in parts]
        given: list[Outputs] = []
        for part, size in zip(parts, sizes, strict=True):
            with evaluating(self.model), torch.no_grad():
                given.append(self.loss.read(call(self.model, part), size))
            if not self.loss.draws_together(given[0]):
                return [None] * len(parts)
        whole = {where: torch.cat([outputs[where] for outputs in given]) for where in given[0]}
        ascents = self.loss.ascents(whole, draw, self.temperature)
        split = {where: torch.split(ascent, sizes) for where, ascent in ascents.items()}
        return [{where: own[number] for where, own in split.items()} for number in range(len(parts))]

    def _runs(
        self, batch: Inputs, ascents: Outputs | None, draw: torch.Generator
    ) -> dict[str, list[LayerRun]]:
        """The calls of all layers; without ascents of the outputs these are drawn here."""
        layers = self.find(self.model, self.names)
        seen: list[tuple[str, Tensor, Tensor]] = []  # (name, input, output), in the order of the calls

        def keep(
            name: str,
            _: nn.Module,
            inputs: Tensor,
            output: Tensor,
        ) -> Tensor:
            seen.append((name, inputs.detach(), output))
            return output.clone()  # which an activation in place may change

        with evaluating(self.model), torch.enable_grad(), observing(layers, after=keep):
            given = self.loss.read(call(self.model, map_tensors(batch, differentiable)), size_of(batch))
            if ascents is None:
                ascents = self.loss.ascents(given, draw, self.temperature)
            ends = tops_of(given)
            outputs = [output for _, _, output in seen]
            # Whose gradients over the outputs are the ascents. Given to torch as such they would make it load
            # its symbolic shapes, a second of its own.
            rise = torch.stack([(given[where] * ascents[where]).sum() for where in ends]).sum()
            gradients: Sequence[Tensor | None] = torch.autograd.grad(rise, outputs, allow_unused=True)
        runs: dict[str, list[LayerRun]] = {}
        for name in self.names:
            runs[name] = []
        for call_seen, gradient in zip(seen, gradients, strict=True):
            name, inputs, output = call_seen
            # The loss does not depend on the output of an unused branch.
            if gradient is None:
                gradient = torch.zeros_like(output)
            run = LayerRun(layers[name], inputs, gradient)
            runs[name].append(run)
        return runs
