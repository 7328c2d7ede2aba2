"""The best trades are those of brute force."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rankfold.explore.front import ACCURACY, best_trades, compared
from rankfold.explore.outcome import Figures, Outcome

SMALL = st.integers(0, 3)


@st.composite
def outcomes(draw: st.DrawFn) -> list[Outcome]:
    """Points with few values, so that many are equal, of which some cannot run."""
    found = []
    for number in range(draw(st.integers(0, 14))):
        figures = None
        if draw(st.integers(0, 4)):
            figures = Figures(
                interval=1.0,
                latency=float(draw(SMALL)),
                energy=float(draw(SMALL)),
                area=float(draw(SMALL)),
                loss=float(draw(SMALL)),
                missing_adc_bits=draw(st.integers(0, 1)),
                weight_bits=float(draw(st.sampled_from([4, 8]))),
                input_bits=4.0,
                arrays_used=1,
                utilisation=0.5,
                mode="",
                limit="",
            )
        found.append(Outcome(number, figures, "" if figures else "too small"))
    return found


def cost(outcome: Outcome, names: tuple[str, ...], accuracies: dict[int, float] | None) -> tuple[float, ...]:
    """Written out by hand: all small but bits of weights, inputs and accuracy."""
    figures = outcome.figures
    assert figures is not None
    row = [float(getattr(figures, name)) for name in names]
    if "loss" in names:
        row += [figures.missing_adc_bits, -figures.weight_bits, -figures.input_bits]
    if accuracies is not None:
        row.append(-accuracies[outcome.number])
    return tuple(row)


@given(
    outcomes(),
    st.sampled_from([("energy",), ("energy", "latency", "area"), ("latency", "loss")]),
    st.none() | st.dictionaries(st.integers(0, 13), st.sampled_from([0.5, 0.7])),
)
def test_no_point_is_as_good_as_one_of_the_front(
    found: list[Outcome], names: tuple[str, ...], accuracies: dict[int, float] | None
) -> None:
    running = [one for one in found if one.figures is not None]
    if accuracies is not None:
        running = [one for one in running if one.number in accuracies]
    expected = []
    for one in running:
        own = cost(one, names, accuracies)
        beaten = False
        for other in running:
            theirs = cost(other, names, accuracies)
            as_good = all(a <= b for a, b in zip(theirs, own, strict=True))
            beaten |= as_good and (theirs != own or other.number < one.number)
        if not beaten:
            expected.append(one.number)
    assert list(best_trades(reversed(found), compared(names), accuracies)) == expected


@given(outcomes())
def test_records_hold_all_that_was_found(found: list[Outcome]) -> None:
    import json

    from rankfold.explore.outcome import SCHEMA
    from rankfold.records.schema import strict_validator

    for one in found:
        line = json.loads(json.dumps(one.to_json()))
        strict_validator(SCHEMA).validate(line)
        assert Outcome.from_json(line) == one


def test_averages_of_bits_that_are_shown_alike_are_alike() -> None:
    (bits,) = [one for one in compared(("loss",)) if one.name == "weight_bits"]
    assert bits.cost(4.01598) == bits.cost(4.01626) > bits.cost(4.3)


def test_more_accuracy_is_better() -> None:
    assert ACCURACY.cost(0.9) < ACCURACY.cost(0.8) and ACCURACY.shown(0.9) == 90
