"""The newest full training state on disk, bound to the run it belongs to."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rankfold.errors import InputError
from rankfold.files import write_bytes

IMAGES = 200_000  # between two states of one epoch


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file and the identity of the run that may use it.

    Attributes:
        path: the file; only the newest state is kept in it.
        run: hash of everything the result depends on (model, plan, data, recipe).
        images: after so many images of an epoch the state is written within it, too.
    """

    path: Path
    run: str
    images: int = IMAGES

    def save(self, state: dict[str, Any]) -> None:
        """Write `state` (tensors, numbers, strings, lists and dictionaries of them) atomically."""
        # Through memory: on a full disk torch's own writer raises an error without the system's reason.
        buffer = io.BytesIO()
        torch.save({"run": self.run, **state}, buffer)
        write_bytes(self.path, buffer.getvalue())

    def read(self) -> bytes | None:
        """The content of the file, or None where there is none.

        Raises:
            InputError: it cannot be read.
        """
        if not self.path.exists():
            return None
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise InputError(f"cannot read checkpoint {self.path}: {error.strerror}") from error

    def parse(self, content: bytes, device: torch.device) -> dict[str, Any]:
        """The state that the content of the file holds, on a device.

        Raises:
            InputError: it is damaged or belongs to another run.
        """
        try:
            state = unpacked(content, device)
        except Exception as error:  # torch raises zipfile, pickle, EOF and runtime errors for damaged files
            raise InputError(
                f"checkpoint {self.path} is damaged or not one of ours; delete it to start again"
            ) from error
        if not isinstance(state, dict) or state.get("run") != self.run:
            raise InputError(
                f"checkpoint {self.path} belongs to another run; use another folder, "
                "or the settings it was started with"
            )
        return state


def unpacked(content: bytes, device: torch.device) -> Any:
    """What was saved as the content of a file, on a device; nothing in it is run."""
    return torch.load(io.BytesIO(content), map_location=device, weights_only=True)
