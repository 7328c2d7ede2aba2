"""Outcomes of trainings that never were."""

from rankfold.planning.forecast.curve import accuracy_at
from rankfold.planning.forecast.outcome import Outcome

BASELINE = 0.92


def outcome(plan, loss, epochs, taught, accuracy):
    """One of a network called `net`."""
    return Outcome(
        run=plan,
        network="net",
        data="data",
        weights="weights",
        bits="4/4 8/8",
        kinds="window",
        plan=plan,
        loss=loss,
        baseline=BASELINE,
        before=0.5,
        epochs=epochs,
        taught=taught,
        accuracy=accuracy,
    )


def made_up(curve, draw, noise, plans=40):
    """Outcomes on a curve but for normal noise of y: of each plan one, of every third one a
    second. Epochs are 1 to 12, of a fifth from labels alone."""
    found = []
    for number in range(plans):
        loss, epochs, taught = float(draw.exponential(0.5)), 1 + number % 12, number % 5 > 0
        for _ in range(1 + (number % 3 == 0)):
            y = curve.excess(loss, epochs, taught) + noise * draw.standard_normal()
            found.append(outcome(str(number), loss, epochs, taught, accuracy_at(y, BASELINE)))
    return found
