"""Output models: what errors of a network's outputs cost, against brute force and exact curvature."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rankfold.calibration import backward
from rankfold.calibration.network_sensitivities import sensitivities
from rankfold.calibration.output_choice import known_output_loss, output_loss, usual_outputs
from rankfold.calibration.output_losses import ScoreLoss
from rankfold.calibration.outputs import OutputModel, OutputsError
from rankfold.calibration.sensitivity import predicted_loss
from rankfold.errors import InputError

IMAGES = torch.randn(6, 2, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Head(nn.Module):
    """A network whose outputs are what a function makes of a map (B, 6, 5, 4)."""

    def __init__(self, head):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(2, 6, 3, padding=1)
        self.last = nn.Conv2d(6, 6, 1)
        self.head = head
        self.double()

    def forward(self, x):
        return self.head(self.last(torch.tanh(self.first(x))))


@dataclass
class Found:
    boxes: torch.Tensor
    scores: torch.Tensor


HEADS = {
    "map": lambda y: y,
    "tokens": lambda y: y.flatten(2).transpose(1, 2),
    "several": lambda y: (3 * y[:, :2], {"far": y[:, 2:].mean((2, 3))}, None, y.argmax(1)),
    "named": lambda y: Found(y.flatten(2), 10 * y.mean((1, 2, 3))),
}


def brute_force(model, outputs, loss_of):
    """H over the weight of `first` of the mean loss, by autograd: (outputs, images) -> loss of one image."""
    weight = model.first.weight
    total = torch.zeros(weight.numel(), weight.numel(), dtype=torch.float64)
    for number in range(len(IMAGES)):
        dense = [y.detach() for y in outputs(model(IMAGES[number : number + 1]))]

        def loss(values, dense=dense, number=number):
            given = torch.func.functional_call(
                model, {"first.weight": values.reshape(weight.shape)}, (IMAGES[number : number + 1],)
            )
            return loss_of(outputs(given), dense)

        total += torch.autograd.functional.hessian(loss, weight.detach().flatten())
    return total / len(IMAGES)


def drawn_curvature(model, taken_for, draws=400):
    """E[vec(A) vec(A)^T] over drawn gradients of single images, which sensitivities are made of."""
    names = ["first"]
    loss = output_loss(model, [IMAGES], taken_for)
    total = 0
    for seed in range(draws):
        for _, runs, images in backward.Backward(model, [IMAGES], names, seed, 1.0, loss=loss):
            (run,) = runs
            patches = F.unfold(run.inputs, 3, padding=1)
            each = torch.einsum("bmp,bnp->bmn", run.gradient.flatten(2), patches).flatten(1)
            total = total + each.T @ each / images
    return total / draws


def soft(values, dense, dim):
    wanted = dense.log_softmax(dim)
    return (wanted.exp() * (wanted - values.log_softmax(dim))).sum(dim).mean()


def spread(values, dims):
    """Mean over `dims` of the variance over images of each value."""
    return values.var(0, correction=0, keepdim=True).mean(dims, keepdim=True)


@pytest.mark.parametrize(
    ("head", "taken_for", "outputs", "loss_of"),
    [
        ("map", "scores", lambda y: [y], lambda y, t: soft(y[0], t[0], 1)),
        ("tokens", "scores:-1", lambda y: [y], lambda y, t: soft(y[0], t[0], 2)),
        ("map", "values", lambda y: [y], None),
        ("tokens", None, lambda y: [y], None),
        ("tokens", "values:1", lambda y: [y], None),
        ("several", None, lambda y: [y[0], y[1]["far"]], None),
        ("named", None, lambda y: [y.boxes, y.scores], None),
    ],
)
def test_drawn_gradients_have_the_curvature_of_the_loss(head, taken_for, outputs, loss_of):
    """Of the divergence itself, by autograd, at the dense network's own weight."""
    model = Head(HEADS[head])
    if loss_of is None:
        dims = {"map": [(2, 3)], "tokens": [(1,)], "several": [(2, 3), ()], "named": [(2,), ()]}[head]
        if taken_for == "values:1":
            dims = [(2,)]
        scales = [
            spread(y.detach(), d) if d else y.detach().var(0, correction=0, keepdim=True)
            for y, d in zip(outputs(model(IMAGES)), dims, strict=True)
        ]

        def loss_of(given, dense):
            parts = [((y - t).square() / s).mean() for y, t, s in zip(given, dense, scales, strict=True)]
            return torch.stack(parts).mean()

    exact = brute_force(model, outputs, loss_of)
    found = drawn_curvature(model, taken_for)
    assert torch.linalg.norm(found - exact) < 0.2 * torch.linalg.norm(exact)
    assert found.trace() == pytest.approx(float(exact.trace()), rel=0.05)


def test_probabilities_are_scores_behind_a_softmax():
    scores, chances = Head(HEADS["tokens"]), Head(lambda y: HEADS["tokens"](y).softmax(2))
    loss = {}
    for model, taken_for in ((scores, "scores:2"), (chances, "probabilities:2")):
        loss[taken_for] = sensitivities(model, [IMAGES], ["first"], outputs=taken_for)["first"]
    one, other = loss.values()
    np.testing.assert_allclose(one.power, other.power, rtol=1e-6, atol=1e-12)
    with pytest.raises(OutputsError, match="values outside 0 to 1, which are no probabilities"):
        sensitivities(scores, [IMAGES], ["first"], outputs="probabilities:2")


@pytest.mark.parametrize("taken_for", ["scores", "probabilities"])
def test_one_class_alone_is_refused_as_its_softmax_says_nothing(taken_for):
    model = nn.Sequential(nn.Conv2d(2, 1, 1), nn.Sigmoid())
    with pytest.raises(
        OutputsError, match=r"one class in dimension 1, whose softmax is 1 .* take it for values"
    ):
        sensitivities(model, [torch.randn(4, 2, 5, 5)], ["0"], outputs=taken_for)


def test_the_prediction_is_the_relative_error_where_outputs_are_linear_in_the_weight():
    """With one output channel the basis of the layer is that of its inputs, and nothing is approximated."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 1, 3, bias=False), nn.Flatten(1)).double()
    model.append(nn.Linear(6, 1).double())
    images = torch.randn(2000, 2, 5, 4, dtype=torch.float64)
    found = sensitivities(model, [images], ["0"])["0"]
    weight = model[0].weight.detach()
    changed = weight + 0.1 * torch.randn_like(weight)
    predicted = predicted_loss(weight.numpy(), changed.numpy(), found)
    before = model(images).detach()
    model[0].weight.data = changed
    error = (model(images).detach() - before).square().mean() / before.var(correction=0)
    assert predicted == pytest.approx(float(error), rel=0.15)


def test_a_loss_apart_is_that_of_a_small_step():
    """`apart` of outputs moved along an error e is 1/2 E[(a e)^2] to the second order."""
    model = Head(HEADS["several"])
    loss = output_loss(model, [IMAGES])
    with torch.no_grad():
        outputs = loss.read(model(IMAGES), len(IMAGES))
    assert list(outputs) == ["output 0", "output 1['far']"]
    moved = {where: y + 0.01 * torch.randn_like(y) for where, y in outputs.items()}
    expected = torch.stack([(loss.weights[w] * (moved[w] - y).square()).sum() for w, y in outputs.items()])
    assert float(loss.apart(moved, outputs, 4.0)) == pytest.approx(float(expected.sum()) / len(IMAGES))
    mean = {where: y.mean(0).expand_as(y) for where, y in outputs.items()}
    assert float(loss.apart(mean, outputs, 1.0)) == pytest.approx(1)


@pytest.mark.parametrize("taken_for", ["values", "scores:1"])
def test_parts_of_a_batch_get_the_draws_of_all_of_it(taken_for, monkeypatch):
    model = Head(HEADS["map"])
    whole = sensitivities(model, [IMAGES], ["first"], outputs=taken_for)["first"]
    monkeypatch.setattr(backward, "KEPT", 500)
    parts = sensitivities(model, [IMAGES], ["first"], outputs=taken_for)["first"]
    np.testing.assert_allclose(whole.gradient, parts.gradient, rtol=1e-9)


def test_what_is_usual():
    flat = nn.Sequential(nn.Flatten(), nn.LazyLinear(3)).double()
    assert str(usual_outputs(flat, [IMAGES])) == "scores"
    assert str(usual_outputs(nn.Sequential(flat, nn.Linear(3, 1).double()), [IMAGES])) == "values"
    for head in HEADS.values():
        assert str(usual_outputs(Head(head), [IMAGES])) == "values"
    assert known_output_loss(Head(lambda y: "boxes"), [IMAGES]) is None
    assert known_output_loss(Head(lambda y: y.detach()), [IMAGES]) is None


@pytest.mark.parametrize(
    ("head", "outputs", "words"),
    [
        (lambda y: "boxes", None, "what the network gives is the text 'boxes'; outputs have to be tensors"),
        (lambda y: (y, [5]), None, r"output 1\[0\] is 5; outputs have to be tensors"),
        (lambda y: y.argmax(1), None, "gives no tensor of real numbers"),
        (lambda y: y[0], None, r"the output has the shape \(6, 5, 4\) for a batch of"),
        (lambda y: 0 * y, "values", "the same outputs for all samples"),
        (lambda y: y.detach(), "values", "not differentiable"),
        (lambda y: y / 0, "scores", "not finite"),
        (lambda y: y, "scores:4", "are over dimension 4, and the output has the shape"),
        (lambda y: y, "scores:0", "another dimension than 0"),
        (lambda y: y, "classes", r"outputs \(=classes\) must be one of scores, probabilities, values"),
        (lambda y: y, "values:x", "must name a dimension by its number, such as values:1"),
    ],
)
def test_other_outputs_are_refused_in_one_sentence(head, outputs, words):
    with pytest.raises(InputError, match=words):
        sensitivities(Head(head), [IMAGES], ["first"], outputs=outputs)


def test_one_sample_tells_of_no_variance():
    with pytest.raises(InputError, match="the data have 1 samples; outputs that are values need 2"):
        sensitivities(Head(HEADS["map"]), [IMAGES[:1]], ["first"])


def test_outputs_that_never_change_do_not_count():
    """A channel that is a constant says nothing; the others are shares of their own variance."""
    model = Head(lambda y: torch.cat([y, torch.full_like(y[:, :1], 7.0)], 1))
    loss = output_loss(model, [IMAGES])
    weights = loss.weights["the output"].flatten()
    assert weights[-1] == 0 and (weights[:-1] > 0).all()
    variance = model(IMAGES).var(0, correction=0).mean((1, 2))[:-1]
    assert torch.allclose(weights[:-1] * variance * 6 * 20, torch.ones(6, dtype=torch.float64))
    assert math.isfinite(float(weights.sum()))
    assert OutputModel.parse("values:-1") == OutputModel("values", -1)


def test_scores_of_many_classes_are_not_softened():
    """At T = 4 thousands of classes that are out of the question would outweigh the one that is meant."""
    draw = torch.Generator().manual_seed(0)
    for classes, sharp in ((1001, True), (1000, False)):
        wanted = 2 * torch.randn(6, classes, generator=draw)
        wanted[:, 0] = 18.0
        given = wanted + torch.randn(6, classes, generator=draw)
        logs = [one.log_softmax(1) for one in (given, wanted)]
        plain = F.kl_div(*logs, reduction="batchmean", log_target=True)
        apart = ScoreLoss().apart({"": given}, {"": wanted}, 4.0)
        assert torch.isclose(apart, plain, rtol=1e-4) == sharp
        (ascent,) = ScoreLoss().ascents({"": wanted}, draw, 4.0).values()
        assert (ascent.abs().amax(1) < 0.1).all() == sharp  # of a class that it is sure of
