"""Training without labels: block by block, a compressed network learns to give what the original gave.

Block reconstruction after Li et al. (BRECQ, ICLR 2021), with the quantisers in the loop: weights are trained,
and the step sizes that round them and their inputs (Esser et al. 2020), where BRECQ and Nagel et al.
(AdaRound, ICML 2020) choose between the two next levels of each weight.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn

from rankfold.arguments import WHOLE, Wanted, takes
from rankfold.calibration.blocks import Block, blocks
from rankfold.calibration.importance import module_importance
from rankfold.calibration.observation import evaluating
from rankfold.calibration.output_choice import known_output_loss
from rankfold.calibration.output_losses import OutputLoss
from rankfold.calibration.outputs import OUTPUTS, OutputModel
from rankfold.calibration.samples import GivesBatches, Samples, call, size_of
from rankfold.errors import InputError
from rankfold.models.device import MODEL, device_of
from rankfold.progress import PROGRESS, Progress, Silent
from rankfold.surgery.undo import unchanged_on_error
from rankfold.training.block_training import BlockLoss, BlockTraining, OfOutputs, Squares, trainable
from rankfold.training.checkpoint import Checkpoint
from rankfold.training.device import deterministic, place_, placed
from rankfold.training.kept_values import KeptValues
from rankfold.training.reconstruction_recipe import BATCH, BlockRecord, Reconstruction
from rankfold.training.waiting_runs import WaitingRuns


@takes(
    model=MODEL,
    reference=MODEL,
    outputs=OUTPUTS,
    seed=WHOLE,
    checkpoint=Wanted("a Checkpoint", Checkpoint, optional=True),
    progress=PROGRESS,
)
def reconstruct_(
    model: nn.Module,
    reference: nn.Module,
    data: Iterable[Any] | GivesBatches,
    *,
    images: int = Reconstruction.images,
    steps: int = Reconstruction.steps,
    rate: float = Reconstruction.rate,
    outputs: OutputModel | str | None = None,
    seed: int = 0,
    checkpoint: Checkpoint | None = None,
    progress: Progress | None = None,
) -> tuple[BlockRecord, ...]:
    """Train a compressed network without labels, in place, to give what the original gives, block by block.

    Each block (see `calibration.blocks`) reads what the blocks before it, already trained, give, and learns
    the outputs that it has in the reference, weighted by how much the reference's own outputs depend on each
    (`calibration.importance.module_importance`; all alike where these are no tensors). Batch norms keep their
    statistics, and weights that masks drop stay zero. A block that does not come nearer stays as it is, and
    so does the whole network where its outputs do not: what is nearer block by block need not be in the end.

    Memory holds both networks, what a way back through the reference keeps (`calibration.backward`), then the
    values that runs of both wait with, at most 1 GB of each, and inputs and outputs of one block, at most
    512 MB of each; what is more is kept in a file.

    Args:
        model: the network after `compress_` and `quantise_`.
        reference: the network that it was made from; it stays as it is.
        data: batches, see `calibration.samples.inputs_of`; targets in them are not looked at.
        images: samples of the data that are looked at, 32 or more.
        steps: of each block, of 32 samples each.
        rate: of Adam at the first step (`Reconstruction`).
        outputs: what the networks' outputs are taken for, such as `scores:2` or `values`; None: one tensor
            (B, classes) is scores, all else values.
        seed: of the samples of each step, and of the labels that are drawn for the importance.
        checkpoint: where the state is kept after each block; what is there is gone on from.
        progress: hears of each block as a part of its own.

    Returns:
        One record for each block with anything to train, in the order in which they run; all with the errors
        that they had where the network stays as it is.

    Raises:
        InputError: a value is out of range, there are too few samples, the networks have no block in common,
            or the checkpoint belongs to another run.
    """
    taken_for = None if outputs is None else OutputModel.parse(outputs)
    recipe = Reconstruction(images, steps, rate)
    device = device_of(model)
    samples = Samples(data, images, device)
    count = sum(size_of(batch) for batch in samples)
    if count < BATCH:
        raise InputError(
            f"the data have {count} samples; reconstruction needs {BATCH} or more, as many as a step looks at"
        )
    job = _Job(
        model,
        reference,
        samples,
        count,
        recipe=recipe,
        outputs=taken_for,
        seed=seed,
        checkpoint=checkpoint,
        progress=progress or Silent(),
    )
    with unchanged_on_error(model), placed(reference, device), deterministic():
        place_(model, device)
        with evaluating(reference), evaluating(model):
            return job.work()


class _Job:
    """A reconstruction under way.

    Args:
        model: in eval mode while this works.
        reference: likewise.
        samples: of both.
        count: how many there are.
        recipe: how long.
        outputs: what the reference's outputs are taken for; None: as is usual.
        seed: of all that is drawn.
        checkpoint: where the state is kept.
        progress: hears of each block.
    """

    def __init__(
        self,
        model: nn.Module,
        reference: nn.Module,
        samples: Samples,
        count: int,
        *,
        recipe: Reconstruction,
        outputs: OutputModel | None,
        seed: int,
        checkpoint: Checkpoint | None,
        progress: Progress,
    ) -> None:
        self._model, self._reference, self._samples = model, reference, samples
        self._recipe, self._outputs, self._seed = recipe, outputs, seed
        self._checkpoint, self._progress = checkpoint, progress
        self._count = count
        self._records: list[BlockRecord] = []

    def work(self) -> tuple[BlockRecord, ...]:
        """Train all blocks that are not done."""
        found = self._blocks()
        whole = known_output_loss(self._reference, self._samples, self._outputs)
        given = {name: value.clone() for name, value in self._model.state_dict().items()}
        before = self._apart(whole)
        self._take_up()
        left = found[len(self._records) :]
        if left:
            self._train(found, left, whole)
        if whole is not None and self._apart(whole) > before:
            self._model.load_state_dict(given)
            return tuple(replace(record, after=record.before) for record in self._records)
        return tuple(self._records)

    def _apart(self, whole: OutputLoss | None) -> float:
        """How far the network's outputs are from the reference's, mean over the samples; 0 where nobody knows
        what they are.
        """
        if whole is None:
            return 0.0
        total = 0.0
        with torch.no_grad():
            for batch in self._samples:
                size = size_of(batch)
                wanted = whole.read(call(self._reference, batch), size)
                total += float(whole.apart(whole.read(call(self._model, batch), size), wanted, 1.0)) * size
        return total / self._count

    def _train(self, found: Sequence[Block], left: Sequence[Block], whole: OutputLoss | None) -> None:
        """Train the blocks that are left of those that there are."""
        # Of all of them, also when it goes on: the same numbers to the last bit.
        names = [block.name for block in found if not block.is_last]
        importance: Mapping[str, Tensor] = {}
        if whole is not None and names:
            importance = module_importance(self._reference, self._samples, names, self._seed, loss=whole)
        own, others = (
            WaitingRuns(network, [block.name for block in left], self._samples)
            for network in (self._model, self._reference)
        )
        with own, others:
            for block in left:
                loss: BlockLoss = Squares(importance.get(block.name))
                if block.is_last and whole is not None:
                    loss = OfOutputs(whole)
                self._add(block, loss, own, others, of=len(found))

    def _add(self, block: Block, loss: BlockLoss, own: WaitingRuns, others: WaitingRuns, of: int) -> None:
        """Train one block of so many, and keep the state."""
        part = f"reconstruction {len(self._records) + 1}/{of}"
        self._progress.begin(part, self._recipe.steps, "steps")
        summary = ""
        try:
            record = self._trained(block, loss, own, others)
            summary = f"{part}: {record.in_words()}"
        finally:
            self._progress.end(summary)
        self._records.append(record)
        if self._checkpoint is not None:
            self._checkpoint.save(self._state())

    def _blocks(self) -> tuple[Block, ...]:
        """The blocks that have anything to train.

        Raises:
            InputError: there is none.
        """
        first = next(iter(self._samples))
        found = blocks(self._reference, self._model, first)
        trained = tuple(block for block in found if trainable(self._model.get_submodule(block.name)))
        if not trained:
            raise InputError(
                "no layer of the network, and no module around one, has outputs of the same shape in the "
                "reference that gradients come back to, as none do through rounding; give the float network "
                "that it was made from"
            )
        return trained

    def _trained(self, block: Block, loss: BlockLoss, own: WaitingRuns, others: WaitingRuns) -> BlockRecord:
        """Train one block; with the runs of the network, and of the reference."""
        start = time.perf_counter()
        folder = self._checkpoint.path.parent if self._checkpoint is not None else None
        inputs, wanted = KeptValues(self._count, folder), KeptValues(self._count, folder)
        for values in own.values(block.name, outputs=False):
            inputs.add(values)
        for values in others.values(block.name, outputs=True):
            wanted.add(values)
        training = BlockTraining(
            inputs=inputs,
            wanted=wanted,
            loss=loss,
            steps=self._recipe.steps,
            rate=self._recipe.rate,
            # Of each block its own, whether or not those before it are trained in this process.
            seed=self._seed + len(self._records),
            device=self._samples.device,
        )
        before, after = training.train_(self._model.get_submodule(block.name), self._progress.advance)
        if _shares_weights(self._model, block.name):
            own.begin_anew()
        return BlockRecord(block.name, before, after, time.perf_counter() - start)

    def _take_up(self) -> None:
        """Go on from the state that the checkpoint holds, if there is one."""
        if self._checkpoint is None:
            return
        content = self._checkpoint.read()
        if content is None:
            return
        state = self._checkpoint.parse(content, self._samples.device)
        self._model.load_state_dict(state["model"])
        self._records = [BlockRecord(**record) for record in state["blocks"]]

    def _state(self) -> dict[str, Any]:
        """All that `_take_up` needs."""
        return {
            "model": self._model.state_dict(),
            "blocks": [asdict(record) for record in self._records],
        }


def _shares_weights(model: nn.Module, block: str) -> bool:
    """Whether a module outside a block, which may have run before it, has a parameter of the block's."""
    own = {id(parameter) for parameter in model.get_submodule(block).parameters()}
    for name, module in model.named_modules():
        if not f"{name}.".startswith(f"{block}."):
            parameters = module.parameters(recurse=False)
            if any(id(parameter) in own for parameter in parameters):
                return True
    return False
