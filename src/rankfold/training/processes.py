"""`Processes`: several processes that train one network together, each with its share of every batch."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from rankfold.errors import InputError, LostProcessError, first_line
from rankfold.training.share import ALL, Share

# Whether buffers are sent in every step; newer versions of torch warn of the older name.
_BUFFERS = "broadcast_buffers"
if "forward_sync_buffers" in inspect.signature(nn.parallel.DistributedDataParallel).parameters:
    _BUFFERS = "forward_sync_buffers"

# What NCCL says of a call of this process that is wrong, and not of another one that has ended.
_OWN_FAULTS = ("invalid usage", "invalid argument", "unhandled cuda error")


class Processes:
    """The processes that train one network together; without arguments, this process alone.

    All of them call the same verbs with the same arguments. Each step of training is that of one process with
    the whole batch, but for the order of sums, so that results, and the folder of a run, do not depend on how
    many there are. Only the first reads and writes the folder.

    Args:
        group: of `torch.distributed`, as `init_process_group` has made it.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self._group = group
        self.share = ALL
        if group is not None:
            self.share = Share(dist.get_rank(group), dist.get_world_size(group))

    @classmethod
    def of_group(cls) -> Processes:
        """All that `torch.distributed.init_process_group` brought together.

        Raises:
            InputError: it was not called.
        """
        if not dist.is_available() or not dist.is_initialized():
            raise InputError(
                "there is no process group; call torch.distributed.init_process_group first, and start the "
                "script with torchrun"
            )
        return cls(dist.group.WORLD)

    @property
    def alone(self) -> bool:
        """Whether there is only this one."""
        return self._group is None

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes files and tells how far the work is."""
        return self.share.number == 0

    def prepared(self, model: nn.Module) -> nn.Module:
        """The network with the weights of the first process, whose gradients are means over all processes."""
        if self.alone:
            return model
        # Statistics of batch norm are the same in all of them, see `training.synchronised`.
        settings: dict[str, Any] = {_BUFFERS: False}
        # Parameters that no step uses are found once, and get no gradient, as in one process.
        settings["static_graph"] = True
        with none_lost():
            return nn.parallel.DistributedDataParallel(model, process_group=self._group, **settings)

    def sum_(self, values: Tensor) -> Tensor:
        """Add up, in place, the values of all processes."""
        if not self.alone:
            with none_lost():
                dist.all_reduce(values, group=self._group)
        return values

    def from_first(self, content: bytes | None) -> bytes | None:
        """What the first process gives; what others give is not looked at."""
        if self.alone:
            return content
        own = b"" if content is None else content
        size = -1 if content is None else len(own)
        with none_lost():
            told = torch.tensor([size], device=self._device)
            dist.broadcast(told, group=self._group, group_src=0)
            if told.item() < 0:
                return None
            if told.item() == 0:
                return b""  # which torch makes no tensor of
            values = torch.zeros(int(told.item()), dtype=torch.uint8, device=self._device)
            if self.is_first:
                values.copy_(torch.frombuffer(bytearray(own), dtype=torch.uint8))
            dist.broadcast(values, group=self._group, group_src=0)
        return values.cpu().numpy().tobytes()

    def take_first_(self, model: nn.Module) -> None:
        """Give `model`, in place, the weights and buffers that it has in the first process."""
        if self.alone:
            return
        with none_lost():
            for value in model.state_dict().values():
                dist.broadcast(value, group=self._group, group_src=0)

    def check_alike(self, content: Mapping[str, Any]) -> None:
        """Refuse to go on where the processes were not given the same.

        Args:
            content: what results depend on, as JSON.

        Raises:
            InputError: some of it is another than in the first process; the message names it.
        """
        if self.alone:
            return
        own = json.loads(json.dumps(content))
        told = self.from_first(json.dumps(content).encode())
        first: dict[str, Any] = json.loads(told or b"{}")
        # What the first does not know of at all comes last.
        differs = [own.get(key) != value for key, value in first.items()]
        differs.append(bool(set(own) - set(first)))
        # Nobody goes on before everybody is known to have the same.
        counts = self.sum_(torch.tensor(differs, dtype=torch.int64, device=self._device)).tolist()
        names = [*first, "settings"]
        different = [name for name, count in zip(names, counts, strict=True) if count]
        if different:
            raise InputError(
                f"the processes were given other {', '.join(different)}; give all of them the same options, "
                "data and weights, on machines of one kind"
            )

    @property
    def _device(self) -> torch.device:
        """Where tensors have to be that carry messages."""
        if "gloo" in str(dist.get_backend_config(self._group)):
            return torch.device("cpu")
        return torch.device("cuda", torch.cuda.current_device())


@contextmanager
def none_lost() -> Iterator[None]:
    """Say in one sentence that another process has ended while this one waited for it.

    Raises:
        LostProcessError: one has.
        InputError: NCCL cannot work with the GPU that this process was given.
    """
    try:
        yield
    except (dist.DistError, RuntimeError) as error:
        # Gloo has no type of error of its own.
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        if any(fault in str(error) for fault in _OWN_FAULTS):
            raise InputError(
                f"the GPU of this process cannot be used ({first_line(error)}); give each process a free GPU "
                "of its own"
            ) from error
        raise LostProcessError(
            f"another process of this training has ended ({first_line(error)}); see what it says, and start "
            "all of them again with resume=True"
        ) from error


ALONE = Processes()
