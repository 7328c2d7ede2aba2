"""`EpochRecord`: what one epoch of training did."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch did.

    Attributes:
        epoch: its number, from 1.
        rate: learning rate of its first step.
        train_loss: what was minimised, mean over the images.
        train_accuracy: on the images as they were augmented, while the weights changed; in [0, 1]. Where a
            teacher teaches without labels, the agreement with it; None where outputs are values.
        test_accuracy: at its end, in [0, 1], or what else the run is measured by; None where it was not
            evaluated.
        seconds: that its steps took, without the evaluation.
        images_per_second: in these steps.
        label_loss: with a teacher, the loss against the labels, which `train_loss` weighs.
        teacher_loss: with a teacher, the loss against its outputs, which `train_loss` weighs too.
    """

    epoch: int
    rate: float
    train_loss: float
    train_accuracy: float | None
    test_accuracy: float | None
    seconds: float
    _: KW_ONLY
    images_per_second: float
    label_loss: float | None = None
    teacher_loss: float | None = None

    def in_words(self, stage: str, epochs: int) -> str:
        """The line that tells of this epoch of a `stage` of so many `epochs`, and what time is left."""
        tested = ""
        if self.test_accuracy is not None:
            tested = f", test {self.test_accuracy:.2%}"
        trained = ""
        if self.train_accuracy is not None:
            trained = f", train {self.train_accuracy:.2%}"
        left = self.seconds * (epochs - self.epoch)
        return (
            f"{stage} {self.epoch}/{epochs}: loss {self.train_loss:.4f}{trained}{tested}, "
            f"{self.images_per_second:.0f} images/s, {_duration(left)} left"
        )


def _duration(seconds: float) -> str:
    """Minutes and seconds, 1:23, or with hours before them, 4:01:23."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}"
