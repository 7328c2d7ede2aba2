"""Metrics of users: what they see of a network, and what is said when they fail."""

from collections import namedtuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import rankfold as rf
from rankfold.errors import InputError
from rankfold.training.metric import Metric, joined

Boxes = namedtuple("Boxes", "scores places")


class Detector(nn.Module):
    """Gives scores and places, and for each sample a list of its own."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        scores = self.layer(x)
        return {"boxes": Boxes(scores, scores.argmax(1)), "each": list(scores), "size": torch.tensor(len(x))}


def pairs(samples, sizes):
    """Batches of these sizes, with the number of each sample as its target, in three ways."""
    numbers = torch.arange(len(samples))
    batches = zip(samples.split(sizes), numbers.split(sizes), strict=True)
    return [(x, {"number": n, "words": [str(int(one)) for one in n], "pair": (n, None)}) for x, n in batches]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_a_function_sees_all_samples_whatever_batches_they_came_in(sizes):
    torch.manual_seed(0)
    model, samples = Detector(), torch.randn(sum(sizes), 3)
    seen = []
    rf.evaluate(model, pairs(samples, sizes), metric=lambda *both: seen.append(both) or 1)
    ((outputs, targets),) = seen
    with torch.no_grad():
        whole = model(samples)
    assert isinstance(outputs["boxes"], Boxes)
    torch.testing.assert_close(outputs["boxes"].scores, whole["boxes"].scores)
    torch.testing.assert_close(torch.stack(outputs["each"]), whole["boxes"].scores)
    assert outputs["size"].tolist() == sizes
    assert targets["number"].tolist() == [int(word) for word in targets["words"]] == list(range(len(samples)))
    assert targets["pair"][1] == [None] * len(sizes)


class Mean:
    """Like those of torchmetrics."""

    def __init__(self):
        self.total, self.samples, self.batches = 99.0, 99, 99

    def reset(self):
        self.total, self.samples, self.batches = 0.0, 0, 0

    def update(self, outputs, targets):
        self.total += float(outputs.sum())
        self.samples += len(targets)
        self.batches += 1

    def compute(self):
        return torch.tensor([self.total / self.samples])


@pytest.mark.parametrize("metric", [Mean(), Mean])
def test_an_object_sees_batch_after_batch(metric):
    model = nn.Linear(3, 1).train()
    batches = [(torch.randn(size, 3), torch.zeros(size)) for size in (2, 5)]
    value = rf.evaluate(model, batches, metric=metric)
    inputs = torch.cat([inputs for inputs, _ in batches])
    assert value == pytest.approx(model(inputs).mean().item(), abs=1e-6)
    assert model.training
    assert Metric.of(metric).name == "Mean"
    assert rf.evaluate(model, batches, metric=metric) == value  # it was reset


def fails(outputs, targets):
    raise KeyError("label")


def ends(outputs, targets):
    raise SystemExit(3)


class Half:
    def update(self, outputs, targets):
        pass


@pytest.mark.parametrize(
    "metric, words",
    [
        (fails, "metric fails failed with KeyError: 'label'; it must run on"),
        (ends, "metric ends failed with SystemExit"),
        (Half, "metric Half is a Half; give a function"),
        (lambda *_: float("nan"), "gave nan; it must give a finite number"),
        (lambda *_: None, "gave None; it must give one number"),
        (lambda *_: torch.ones(2), "gave a Tensor; it must give one number"),
        (namedtuple("Needs", "it reset update compute"), "metric Needs cannot be made without arguments"),
        (3, "metric must be a metric: a function"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(metric, words):
    with pytest.raises(InputError) as error:
        rf.evaluate(nn.Linear(3, 1), [(torch.zeros(2, 3), None)], metric=metric)
    assert words in str(error.value)


@pytest.mark.parametrize(
    "batches, words",
    [
        ([], "there is no batch to evaluate on"),
        ([torch.zeros(2, 3)], "a batch to measure a metric on is a Tensor; give pairs (inputs, targets)"),
        (
            [(torch.zeros(1, 3), torch.zeros(1, 2)), (torch.zeros(1, 3), torch.zeros(1, 4))],
            "different shapes",
        ),
        ([(torch.zeros(1, 3), None), (torch.zeros(1, 3), 1)], "of different types: NoneType, int"),
    ],
)
def test_batches_that_no_metric_can_see_are_refused(batches, words):
    with pytest.raises(InputError) as error:
        rf.evaluate(nn.Linear(3, 1), batches, metric=lambda *_: 1.0)
    assert words in str(error.value)


@pytest.mark.parametrize("batches", [[{"a": 1}, {"b": 1}], [(1,), (1, 2)]])
def test_what_has_another_structure_is_refused(batches):
    with pytest.raises(InputError, match=r"^targets of different batches"):
        joined(batches, "targets")
