"""`Share`: what one of several processes takes of every batch."""

from __future__ import annotations

from dataclasses import dataclass

from rankfold.errors import InputError


@dataclass(frozen=True)
class Share:
    """What one of several processes takes of every batch.

    Attributes:
        number: of the process, from 0.
        of: how many processes there are.
    """

    number: int = 0
    of: int = 1

    def places(self, samples: int) -> slice:
        """Places in a batch of so many samples; shares follow each other and differ by one at most.

        Raises:
            InputError: there is not one for each process.
        """
        if samples < self.of:
            raise InputError(
                f"a batch of {samples} samples has none for some of {self.of} processes; give batches of "
                f"{self.of} or more, or start fewer processes"
            )
        return slice(samples * self.number // self.of, samples * (self.number + 1) // self.of)


ALL = Share()
