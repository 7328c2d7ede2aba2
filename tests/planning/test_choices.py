"""What the layers of a network may become: an interrupt is not kept waiting."""

import pytest

from common.planned_layers import choices, problem
from rankfold.calibration import sensitivity
from rankfold.calibration.sensitivity import predicted_loss
from rankfold.lowrank import fitted_supports
from rankfold.planning.kinds import study
from rankfold.progress import Silent


@pytest.fixture(scope="module")
def known():
    return problem(8, kinds={"low-rank", "support"})


def test_an_interrupt_waits_for_no_layer(known, monkeypatch):
    stopped, late = [], []

    class Interrupts(Silent):
        def advance(self, count=1, detail=""):
            stopped.append(count)
            raise KeyboardInterrupt

    def watched(work):
        def watch(*arguments, **options):
            if stopped:
                late.append(work)
            return work(*arguments, **options)

        return watch

    monkeypatch.setattr(sensitivity, "predicted_loss", watched(predicted_loss))
    monkeypatch.setattr(study, "fitted_supports", watched(fitted_supports))
    with pytest.raises(KeyboardInterrupt):
        choices(known, Interrupts(), threads=1)
    # The one layer that had begun may have been about to take its next step; no other begins.
    assert len(stopped) == 1 and len(late) <= 1
