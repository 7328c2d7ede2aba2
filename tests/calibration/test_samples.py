"""Calibration data as users have them: batches of every form, bounded, gone through as often as needed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from rankfold.calibration.samples import Samples, call, inputs_of, size_of, tensors_of
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.nn.low_rank import LowRankConv2d
from rankfold.nn.quantised import QuantConv2d, QuantLinear
from rankfold.plan import LowRank, SharedSupport, uniform_plan
from rankfold.surgery.compress import compress_
from rankfold.surgery.quantise import quantise_
from rankfold.workload import trace

CPU = torch.device("cpu")


def numbered(count: int, start: int = 0) -> Tensor:
    """(count, 1) the numbers from `start` on: samples that can be told apart."""
    return torch.arange(start, start + count, dtype=torch.float32)[:, None]


def samples(data: Any, images: int | None = None) -> list[Any]:
    return list(Samples(data, images, CPU))


X, Y = numbered(4), numbered(4, start=100)
TARGET = torch.zeros(4, dtype=torch.int64)


# ---- forms of batches


@pytest.mark.parametrize(
    "batch", [X, (X,), [X], (X, TARGET), [X, TARGET], (X, None), (X, {"boxes": TARGET})], ids=str
)
def test_a_tensor_alone_or_with_a_target(batch: Any) -> None:
    assert inputs_of(batch) is X
    assert size_of(inputs_of(batch)) == 4


@pytest.mark.parametrize("batch", [((X, Y), TARGET), [[X, Y], TARGET], ([X, Y], None), ((X, Y),)], ids=str)
def test_several_inputs_by_position(batch: Any) -> None:
    inputs = inputs_of(batch)
    assert isinstance(inputs, tuple)
    assert inputs[0] is X and inputs[1] is Y


@pytest.mark.parametrize(
    "batch", [{"x": X, "y": Y}, ({"x": X, "y": Y}, TARGET), [{"x": X, "y": Y}, None]], ids=str
)
def test_several_inputs_by_name(batch: Any) -> None:
    inputs = inputs_of(batch)
    assert inputs == {"x": X, "y": Y}
    assert tensors_of(inputs)[1] is Y


@pytest.mark.parametrize(
    ("batch", "kind"),
    [((X, Y, TARGET), "tuple"), ("x", "str"), (3, "int"), (("a", X), "tuple"), (None, "NoneType")],
)
def test_other_batches_are_refused_in_one_sentence(batch: Any, kind: str) -> None:
    with pytest.raises(
        InputError, match=f"^a batch of calibration data is a {kind}; give tensors, pairs"
    ) as told:
        samples([batch])
    assert "\n" not in str(told.value)


class Difference(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x - y


def test_a_network_is_called_with_what_a_batch_holds() -> None:
    model = Difference()
    assert torch.equal(call(model, (X, Y)), X - Y)
    assert torch.equal(call(model, {"y": X, "x": Y}), Y - X)
    assert torch.equal(call(nn.ReLU(), X), X)


# ---- how many, how often


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.none() | st.integers(1, 40))
def test_the_first_samples_are_taken_and_the_last_batch_is_cut(sizes: list[int], images: int | None) -> None:
    """The same ones at each iteration, whether the data can be gone through again or not."""
    every = numbered(sum(sizes))
    batches = list(every.split(sizes))
    wanted = every[: sum(sizes) if images is None else images]
    for data in (batches, tuple(batches), iter(batches), (batch for batch in batches)):
        taken = Samples(data, images, CPU)
        for _ in range(3):
            assert torch.equal(torch.cat(list(taken)), wanted)


def test_a_cut_is_made_in_every_input() -> None:
    (first, second), (third, fourth) = samples([((X, Y), None), ((X, Y), None)], images=5)
    assert (len(first), len(second), len(third), len(fourth)) == (4, 4, 1, 1)
    (named,) = samples([{"x": X, "y": Y}], images=3)
    assert torch.equal(named["x"], X[:3]) and torch.equal(named["y"], Y[:3])


def test_what_is_of_all_samples_together_is_not_cut() -> None:
    """A temperature, or a mask over positions; and what is no tensor goes through as it is."""
    shared = torch.ones(7, 7)
    batch = {"temperature": torch.tensor(0.5), "x": X, "mask": shared, "mode": "fast"}
    (inputs,) = samples([batch], images=2)
    assert torch.equal(inputs["x"], X[:2])
    assert torch.equal(inputs["mask"], shared) and inputs["temperature"] == 0.5 and inputs["mode"] == "fast"


def test_batches_that_are_not_needed_are_not_asked_for() -> None:
    asked = []

    def batches() -> Any:
        for number in range(10):
            asked.append(number)
            yield X

    samples(batches(), images=8)
    assert asked == [0, 1]


class Numbers(Dataset[Tensor]):
    def __len__(self) -> int:
        return 10

    def __getitem__(self, place: int) -> Tensor:
        return torch.full((1,), float(place))


def test_data_loaders() -> None:
    loader = DataLoader(Numbers(), batch_size=4)
    assert torch.equal(torch.cat(samples(loader)), numbered(10))
    assert torch.equal(torch.cat(samples(loader, images=6)), numbered(6))
    labelled = DataLoader(TensorDataset(numbered(10), torch.zeros(10)), batch_size=4)
    assert torch.equal(torch.cat(samples(labelled, images=6)), numbered(6))
    alone = DataLoader(TensorDataset(numbered(10)), batch_size=4)  # gives lists of one tensor
    assert torch.equal(torch.cat(samples(alone)), numbered(10))


@pytest.mark.parametrize(
    ("data", "images", "message"),
    [
        (X, 4, "data is a Tensor; give an iterable of batches, such as a list of batches or a data loader"),
        (3, 4, "data is a int; give an iterable of batches"),
        ([X], 0, r"images \(=0\) must be 1 or more"),
    ],
    ids=str,
)
def test_data_that_are_none(data: Any, images: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Samples(data, images, CPU)


def test_a_batch_without_a_tensor_cannot_be_counted() -> None:
    with pytest.raises(
        InputError, match="a batch of calibration data holds no tensor; give tensors with the samples"
    ):
        samples([{"x": 3.0}], images=4)
    with pytest.raises(InputError, match="holds no tensor"):
        size_of({"temperature": torch.tensor(1.0)})


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("once", [False, True])
def test_values_that_are_not_finite_are_refused_in_one_sentence(bad: float, once: bool) -> None:
    broken = Y.clone()
    broken[2] = bad
    data: Any = [X, ({"x": X, "y": broken}, TARGET)]
    if once:
        data = iter(data)
    with pytest.raises(
        InputError, match=r"values that are not finite \(NaN or infinite\); remove these"
    ) as told:
        samples(data)
    assert "\n" not in str(told.value)
    # Samples that are not looked at may be anything.
    assert len(samples([X, broken], images=4)) == 1


def test_whole_numbers_are_always_finite() -> None:
    (tokens,) = samples([TARGET])
    assert torch.equal(tokens, TARGET)


# ---- the verbs that take data


class Picture(nn.Module):
    """One input."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, bias=False),
            nn.BatchNorm2d(8),
        )
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


class PictureAndScale(nn.Module):
    """Two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.picture = Picture()
        self.scale = nn.Linear(2, 4)

    def forward(self, image: Tensor, size: Tensor) -> Tensor:
        return self.picture(image) * self.scale(size)


IMAGES = torch.randn(48, 3, 8, 8, generator=torch.Generator().manual_seed(0))
SIZES = torch.randn(48, 2, generator=torch.Generator().manual_seed(1))


def compressed(data: Any, method: Any, decomposition: str = "data", images: int = 40) -> dict[str, Tensor]:
    """The weights after surgery and quantisation on data of one form."""
    torch.manual_seed(0)
    model = Picture()
    plan = uniform_plan(trace(model, (3, 8, 8)), ArraySpec(32, 32), method, bits=4)
    make = data if callable(data) else lambda: data
    compress_(model, plan, make(), decomposition=decomposition, images=images)
    settled = quantise_(model, plan, make(), images=images)
    assert all(layer.input_signed is not None for layer in settled.layers)
    return model.state_dict()


LABELS = torch.zeros(48, dtype=torch.int64)
FORMS: dict[str, Any] = {
    "pairs": [(part, None) for part in IMAGES.split(16)],
    "data loader": DataLoader(TensorDataset(IMAGES, LABELS), batch_size=16),
    "data loader without labels": DataLoader(TensorDataset(IMAGES), batch_size=16),
    "generator": lambda: (part for part in IMAGES.split(16)),
    "names": [{"x": part} for part in IMAGES.split(16)],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("decomposition", ["data", "sequential"])
def test_the_form_of_the_data_changes_nothing(form: str, decomposition: str) -> None:
    method = LowRank(groups=2, rank=2, force=True)
    wanted = compressed(list(IMAGES.split(16)), method, decomposition)
    state = compressed(FORMS[form], method, decomposition)
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("method", [LowRank(groups=2, rank=2, force=True), SharedSupport(4)])
def test_as_many_images_as_asked_for_are_looked_at(method: Any) -> None:
    cut = compressed(list(IMAGES.split(16)), method, images=40)
    given = compressed([IMAGES[:16], IMAGES[16:32], IMAGES[32:40]], method, images=512)
    assert all(torch.equal(cut[name], given[name]) for name in given)


@pytest.mark.parametrize("decomposition", ["data", "sequential"])
@pytest.mark.parametrize("named", [False, True])
def test_a_network_of_two_inputs(named: bool, decomposition: str) -> None:
    torch.manual_seed(0)
    model = PictureAndScale()
    network = trace(model, None, "two", {"image": IMAGES[:1], "size": SIZES[:1]})
    plan = uniform_plan(network, ArraySpec(32, 32), LowRank(groups=2, rank=2, force=True), bits=4)
    data: list[Any] = []
    for image, size in zip(IMAGES.split(16), SIZES.split(16), strict=True):
        if named:
            data.append({"size": size, "image": image})
        else:
            data.append(((image, size), LABELS[:16]))
    reports = {report.name: report for report in compress_(model, plan, data, decomposition=decomposition)}
    assert 0 < reports["picture.body.3"].output_error < 1
    assert isinstance(model.picture.body[3], LowRankConv2d)
    settled = quantise_(model, plan, data)
    # What the scale reads is positive and negative; what the second convolution reads comes from a ReLU.
    assert settled.layer("scale").input_signed and not settled.layer("picture.body.3").input_signed
    assert isinstance(model.picture.body[3].reduce, QuantConv2d) and isinstance(model.scale, QuantLinear)
    assert torch.isfinite(model(IMAGES, SIZES)).all()


@pytest.mark.parametrize("empty", [[], iter([])])
def test_no_data_are_refused_before_anything_changes(empty: Any) -> None:
    model = Picture()
    plan = uniform_plan(trace(model, (3, 8, 8)), ArraySpec(32, 32), LowRank(rank=2, force=True), bits=4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(
        InputError, match=r"never ran on the calibration data, which has no batch, or none that reaches it"
    ):
        compress_(model, plan, empty)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    compress_(model, plan)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError, match="batches is empty; pass at least one batch of inputs"):
        quantise_(model, plan, [])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_data_with_broken_values_change_nothing() -> None:
    model = Picture()
    plan = uniform_plan(trace(model, (3, 8, 8)), ArraySpec(32, 32), LowRank(rank=2, force=True), bits=4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    broken = IMAGES.clone()
    broken[20, 0, 0, 0] = float("nan")
    for decomposition in ("data", "sequential"):
        with pytest.raises(InputError, match="not finite"):
            compress_(model, plan, broken.split(16), decomposition=decomposition)
    state = model.state_dict()
    assert state.keys() == before.keys()
    assert all(torch.equal(before[name], value) for name, value in state.items())
    compress_(model, plan)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError, match="not finite"):
        quantise_(model, plan, broken.split(16))
    state = model.state_dict()
    assert state.keys() == before.keys()
    assert all(torch.equal(before[name], value) for name, value in state.items())
