"""Compressed networks of people's own training loops, saved and loaded without pickle."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save as to_safetensors
from torch import nn

from rankfold import run_files
from rankfold.arguments import PATH, takes
from rankfold.errors import InputError
from rankfold.files import write_bytes
from rankfold.models.device import MODEL
from rankfold.models.finite import check_numbers
from rankfold.models.load import apply_weights, read_weights
from rankfold.plan.plan import PLAN, Plan
from rankfold.surgery.by_weights import build_
from rankfold.surgery.follows import check_follows
from rankfold.surgery.quantise import insert_quantisers_, open_signs
from rankfold.surgery.supports import check_supports, filled_in
from rankfold.surgery.undo import unchanged_on_error


@takes(model=MODEL, plan=PLAN, folder=PATH)
def save(model: nn.Module, plan: Plan, folder: str | Path) -> None:
    """Write a compressed (and quantised) network as `plan.json` and `model.safetensors`.

    Args:
        model: the network after `compress_` (and `quantise_`), or a wrapper of it, `DistributedDataParallel`
            or `torch.compile`, which is taken off.
        plan: the plan it follows, with all signs filled in where it has bits: the one that `quantise_`
            returned. Supports are saved as the network has them.
        folder: where to write; files of these names are replaced.

    Raises:
        InputError: the folder cannot be written, signs are open in the plan, or the network does not follow
            it or has weights that are NaN.
    """
    # Before anything is written: half a saved network would be worse than none.
    still_open = next(iter(open_signs(plan)), None)
    if still_open is not None:
        raise InputError(
            f"plan, layer {still_open}: input_signed is open, and the network could not be loaded again; "
            "save the plan that quantise_(model, plan, data) returned"
        )
    target = Path(folder)
    bare = unwrapped(model)
    check_follows(bare, plan)
    check_numbers(bare.state_dict(), "the network")
    # Supports that were chosen on data are in the masks alone so far.
    filled = filled_in(plan, bare)
    save_weights(target / run_files.WEIGHTS, bare)
    filled.save(target / run_files.PLAN)


@takes(model=MODEL, folder=PATH)
def load_(model: nn.Module, folder: str | Path) -> Plan:
    """Make a fresh dense network what was saved in `folder`, in place: surgery by its plan, then weights.

    The network's class is not changed; it needs no knowledge of Rankfold. A run folder of `rankfold compress`
    does too.

    Args:
        model: an instance of the network that was compressed; its weights do not matter.
        folder: where it was saved.

    Returns:
        The plan, with the weights that pruned layers keep.

    Raises:
        InputError: a file is missing or damaged, or belongs to another network; the network is as before.
        UnsupportedLayerError: see `compress_`.
    """
    target = Path(folder)
    for name in (run_files.PLAN, run_files.WEIGHTS):
        if not (target / name).is_file():
            raise InputError(
                f"{target} holds no saved network (no {name}); give one of save, or of a finished run"
            )
    # Both are read before the network is touched, so that a damaged file leaves it as it was.
    plan = Plan.load(target / run_files.PLAN)
    weights = read_weights(target / run_files.WEIGHTS)
    # In the order of training: modules, then their quantisers, then weights for the names that now exist.
    with unchanged_on_error(model):
        build_(model, plan)
        insert_quantisers_(model, plan)
        apply_weights(model, weights, str(target / run_files.WEIGHTS))
        # Masks came with the weights, the supports with the plan; the two files may not belong together.
        check_supports(plan, model)
        return filled_in(plan, model)


def save_weights(path: Path, model: nn.Module) -> None:
    """Write the state dict of `model` atomically as safetensors."""
    # Clones, since safetensors refuses tensors that share memory, as those of shared modules do.
    state = {}
    for name, tensor in model.state_dict().items():
        state[name] = tensor.detach().cpu().contiguous().clone()
    write_bytes(path, to_safetensors(state))


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside the wrappers of torch.compile and of (distributed) data parallelism."""
    # Wrappers may be nested, a compiled network in a parallel one for example.
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner
