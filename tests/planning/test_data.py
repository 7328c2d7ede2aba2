"""What planning takes as data: images, or any iterable of batches, gone through once."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from rankfold.calibration.samples import size_of
from rankfold.errors import InputError
from rankfold.planning.data import planning_data

CPU = torch.device("cpu")


def pairs(sizes):
    """Batches of distinct samples; the class of a sample is its number."""
    start = 0
    for size in sizes:
        numbers = torch.arange(start, start + size)
        yield numbers[:, None, None, None].float().expand(size, 1, 6, 4), numbers
        start += size


class Numbers(nn.Module):
    """Gives each sample the class that is its number, but the `wrong` ones class 0."""

    def __init__(self, classes, wrong=()):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.classes, self.wrong, self.seen = classes, wrong, []

    def forward(self, x):
        numbers = x[:, 0, 0, 0].long()
        self.seen += numbers.tolist()
        for wrong in self.wrong:
            numbers = torch.where(numbers == wrong, 0, numbers)
        return nn.functional.one_hot(numbers, self.classes).float()


def numbers_in(batches):
    return [batch[:, 0, 0, 0].long().tolist() for batch in batches]


def test_batches_are_read_once_and_no_further_than_needed():
    read = []

    def watched() -> Iterator:
        for batch in pairs([4] * 10):
            read.append(len(batch[1]))
            yield batch

    data = planning_data(watched(), CPU)
    assert not read
    assert data.image_size == (6, 4)
    assert sum(read) == 4
    calibration = data.calibration(6, seed=0)
    assert sum(read) == 8
    assert numbers_in(calibration) == numbers_in(calibration) == [[0, 1, 2, 3], [4, 5]]
    held_out = data.held_out(7, seed=0, skip=6)
    assert sum(read) == 16
    assert len(held_out) == 7
    assert numbers_in(calibration) == [[0, 1, 2, 3], [4, 5]]


@pytest.mark.parametrize(
    ("sizes", "skip", "images"), [([4] * 5, 6, 7), ([20], 3, 9), ([1] * 12, 2, 5), ([5, 5], 5, 99)]
)
def test_what_is_held_out_follows_what_calibrates(sizes, skip, images):
    data = planning_data(list(pairs(sizes)), CPU)
    model = Numbers(sum(sizes))
    held_out = data.held_out(images, seed=0, skip=skip)
    stop = min(skip + images, sum(sizes))
    assert len(held_out) == stop - skip
    assert held_out.accuracy(model) == 1.0
    assert model.seen == list(range(skip, stop))
    model.wrong = (skip,)
    assert held_out.accuracy(model) == pytest.approx(1 - 1 / len(held_out))


def test_what_batches_may_be():
    """Inputs by name and by position are cut like tensors."""
    x, y = torch.arange(6.0)[:, None], torch.arange(6)
    for inputs in ({"x": x, "scale": 2.0}, (x, x + 1), [x, x + 1]):
        data = planning_data([(inputs, y)], CPU)
        (first,) = data.calibration(4, seed=0)
        assert size_of(first) == 4
        held_out = data.held_out(9, seed=0, skip=4)
        assert len(held_out) == 2


def test_the_digest_tells_samples_apart():
    digests = [planning_data(list(pairs(sizes)), CPU) for sizes in ([4, 4], [8], [7])]
    same, whole, fewer = [data.digest(8) for data in digests]
    assert same == whole != fewer
    assert digests[0].digest(6) == digests[1].digest(6) != same  # whatever was read


def test_the_digest_tells_types_and_shapes_apart():
    zeros = [torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 2, 8), torch.zeros(2, 3, 4, 4, dtype=torch.int32)]
    assert len({planning_data([inputs], CPU).digest(2) for inputs in zeros}) == 3


def test_wrong_data_are_refused():
    for wrong in (torch.zeros(3, 1, 4, 4), 7, None):
        with pytest.raises(
            InputError,
            match=r"data is a .*; give an iterable of batches, such as a list of batches or a data loader",
        ):
            planning_data(wrong, CPU)
    with pytest.raises(InputError, match="data is empty; give at least one batch"):
        planning_data([], CPU).calibration(5, seed=0)
    with pytest.raises(InputError, match="a batch of calibration data is a str"):
        planning_data(["one"], CPU).calibration(5, seed=0)
    with pytest.raises(InputError, match="data given has 8 samples, and the first 8 are for calibration"):
        planning_data(list(pairs([4, 4])), CPU).held_out(5, seed=0, skip=8)
    with pytest.raises(InputError, match="a batch to evaluate on is a Tensor; give pairs"):
        planning_data([torch.zeros(9, 1)], CPU).held_out(5, seed=0, skip=4)
    with pytest.raises(InputError, match=r"5 samples and a target of \(5,\) torch\.float32"):
        planning_data([(torch.zeros(9, 1), torch.zeros(9))], CPU).held_out(5, seed=0, skip=4)
    spoilt = torch.zeros(4, 1)
    spoilt[2] = float("nan")
    with pytest.raises(InputError, match="not finite"):
        list(planning_data([spoilt], CPU).calibration(4, seed=0))


def test_images_are_the_training_split(digits):
    data = planning_data(digits, CPU)
    assert planning_data(data, CPU) is data
    assert data.image_size == (8, 8)
    (inputs,) = data.calibration(20, seed=3)
    assert inputs.shape == (20, 1, 8, 8)
    held_out = data.held_out(30, seed=3, skip=20)
    assert (held_out.split.labels == digits.train.sample(30, 3, skip=20).labels).all()
