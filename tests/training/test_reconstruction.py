"""Training without labels, block by block: what it must keep, and what it must not look at."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import rankfold as rf
from rankfold.calibration.quantisers import calibrate_
from rankfold.errors import InputError
from rankfold.nn.masked import MaskedConv2d
from rankfold.nn.quantised import LayerBits, replace_by_quantised_
from rankfold.progress import Silent
from rankfold.training.block_training import BlockTraining
from rankfold.training.checkpoint import Checkpoint
from rankfold.training.kept_values import KeptValues
from rankfold.training.reconstruction import reconstruct_

IMAGES = torch.randn(48, 1, 6, 6, generator=torch.Generator().manual_seed(0))
BATCHES = [IMAGES[:32], IMAGES[32:]]
FEW = {"images": 48, "steps": 12, "rate": 3e-3}


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        return F.relu(x + self.second(F.relu_(self.norm(self.first(x)))))


def dense():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), Residual(), Residual(), nn.Flatten(), nn.Linear(64, 5)
    )
    return net.eval()


def compressed(reference):
    """The same with a mask, and three bits."""
    net = copy.deepcopy(reference)
    mask = torch.rand(4, 4, 3, 3, generator=torch.Generator().manual_seed(1)) < 0.6
    net[2].first = MaskedConv2d.from_conv(net[2].first, mask.numpy())
    bits = {name: LayerBits(3, 3, True) for name in ("2.first", "2.second", "3.first", "3.second", "5")}
    replace_by_quantised_(net, bits)
    calibrate_(net, BATCHES)
    return net


def reconstructed(data=BATCHES, **options):
    reference = dense()
    net = compressed(reference)
    records = reconstruct_(net, reference, data, **{**FEW, **options})
    return net, records


def same(one, other):
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def done():
    return reconstructed()


def test_every_block_comes_nearer_or_stays_and_the_network_does(done):
    net, records = done
    assert [record.name for record in records] == ["0", "2", "3", "5"]
    assert all(record.after <= record.before for record in records)
    assert records[0].before == 0  # it is as in the reference
    reference = dense()
    wanted = reference(IMAGES).softmax(1)
    before, after = [(one(IMAGES).softmax(1) - wanted).square().sum() for one in (compressed(reference), net)]
    assert after < 0.8 * before
    dropped = ~net[2].first.mask
    assert dropped.any() and not net[2].first.weight[dropped].any()
    assert torch.equal(net[2].norm.running_mean, reference[2].norm.running_mean)
    assert not net.training and not any(module.training for module in net.modules())


def test_the_same_seed_gives_the_same_weights_and_torch_draws_as_before(done):
    reference = dense()
    again = compressed(reference)
    state = torch.get_rng_state()
    reconstruct_(again, reference, BATCHES, **FEW)
    assert torch.equal(torch.get_rng_state(), state)
    assert same(again, done[0])
    assert not same(reconstructed(seed=1)[0], done[0])


def test_labels_are_never_read(done):
    wrong = [(IMAGES[:32], torch.full((32,), -1)), (IMAGES[32:], "no labels at all")]
    assert same(reconstructed(wrong)[0], done[0])


def test_what_equals_the_reference_stays_and_so_does_the_reference():
    reference = dense().train()
    reference[2].eval()
    net, before = copy.deepcopy(reference), copy.deepcopy(reference)
    records = reconstruct_(net, reference, BATCHES, **FEW)
    assert [record.after for record in records] == [0, 0, 0, 0]
    assert same(net, before) and same(reference, before)
    for one in (net, reference):
        modes = [module.training for module in one.modules()]
        assert modes == [module.training for module in before.modules()]


def test_a_network_whose_outputs_come_no_nearer_stays_as_it_is(monkeypatch):
    def ruined(training, block, each):
        with torch.no_grad():
            for parameter in block.parameters():
                parameter.mul_(-1)
        return 1.0, 0.5

    monkeypatch.setattr(BlockTraining, "train_", ruined)
    reference = dense()
    net = compressed(reference)
    before = copy.deepcopy(net)
    records = reconstruct_(net, reference, BATCHES, **FEW)
    assert same(net, before) and [record.after for record in records] == [1.0] * 4


class StoppedAt(Silent):
    """Interrupts a block after some of its steps."""

    def __init__(self, part):
        self.part, self.left = part, 5

    def begin(self, what, total, unit="images"):
        self.on = what == f"reconstruction {self.part}/4"

    def advance(self, count=1, detail=""):
        self.left -= self.on
        if not self.left:
            raise KeyboardInterrupt


def test_one_that_was_stopped_ends_like_one_that_was_not(done, tmp_path):
    reference = dense()
    net = compressed(reference)
    before = copy.deepcopy(net)
    checkpoint = Checkpoint(tmp_path / "reconstruction.pt", "run")
    for part in (2, 3):
        with pytest.raises(KeyboardInterrupt):
            reconstruct_(net, reference, BATCHES, **FEW, checkpoint=checkpoint, progress=StoppedAt(part))
        # In place, and still as it was.
        assert same(net, before)
    records = reconstruct_(net, reference, BATCHES, **FEW, checkpoint=checkpoint)
    assert same(net, done[0])
    for one, other in zip(records, done[1], strict=True):
        assert (one.name, one.before, one.after) == (other.name, other.before, other.after)
    # All is done: nothing is trained any more.
    assert reconstruct_(compressed(reference), reference, BATCHES, **FEW, checkpoint=checkpoint) == records
    with pytest.raises(InputError, match="belongs to another run"):
        other = Checkpoint(checkpoint.path, "other")
        reconstruct_(net, reference, BATCHES, **FEW, checkpoint=other)


def test_a_network_without_scores_is_reconstructed_too():
    reference = dense()[:4]
    net = compressed(dense())[:4]
    records = reconstruct_(net, reference, BATCHES, **FEW)
    assert [record.name for record in records] == ["0", "2", "3"]
    assert records[-1].after < records[-1].before < 1


@pytest.mark.parametrize("outputs", ["scores:1", "values"])
def test_outputs_may_be_others_than_scores_of_classes(outputs):
    """The last layer learns by the loss of what the outputs are taken for."""
    reference = dense()[:3]
    reference.append(nn.Conv2d(4, 3, 1)).eval()
    net = compressed(dense())[:3]
    net.append(copy.deepcopy(reference[3])).eval()
    records = reconstruct_(net, reference, BATCHES, **FEW, outputs=outputs)
    assert [record.name for record in records] == ["0", "2", "3"]
    assert records[-1].after < records[-1].before
    with torch.no_grad():
        given, wanted = net(IMAGES), reference(IMAGES)
    if outputs == "values":
        variance = wanted.var(0, correction=0).mean((1, 2))
        error = ((given - wanted).square().mean((0, 2, 3)) / variance).mean()
    else:
        soft = [(one / 4).log_softmax(1) for one in (wanted, given)]
        error = 16 * (soft[0].exp() * (soft[0] - soft[1])).sum(1).mean()
    assert records[-1].after == pytest.approx(float(error), rel=2e-3)


def test_values_in_a_file_are_those_in_memory(tmp_path):
    values = torch.randn(7, 3, 2)
    some = torch.tensor([5, 0, 5])
    for memory in (0, 1 << 10):
        kept = KeptValues(7, tmp_path, memory)
        kept.add(values[:4])
        kept.add(values[4:])
        assert torch.equal(kept.of(some, torch.device("cpu")), values[some])
        assert not list(tmp_path.iterdir())


def test_files_serve_blocks_as_memory_does(done, monkeypatch):
    monkeypatch.setattr("rankfold.training.kept_values.MEMORY", 0)
    assert same(reconstructed()[0], done[0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"images": 31}, r"images \(=31\) must be 32 or more"),
        ({"steps": 0}, r"steps \(=0\) must be 1 or more"),
        ({"rate": float("nan")}, r"rate \(=nan\) must be a positive number"),
        ({"steps": 1.5}, "steps must be a whole number, not 1.5"),
        ({"data": [IMAGES[:20]]}, "the data have 20 samples; reconstruction needs 32 or more"),
        ({"data": IMAGES}, "data is a Tensor; give an iterable of batches"),
    ],
)
def test_wrong_values_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        reconstructed(**options)


def test_another_network_and_ruined_weights_are_refused():
    with pytest.raises(InputError, match="give the float network that it was made from"):
        reconstruct_(compressed(dense()), nn.Sequential(nn.Flatten(), nn.Linear(36, 5)), BATCHES, **FEW)
    reference = dense()
    net = compressed(reference)
    with torch.no_grad():
        net[3].second.bias[0] = float("inf")
    with pytest.raises(InputError, match="not finite; its weights may be damaged"):
        reconstruct_(net, reference, BATCHES, **FEW)


def test_it_is_a_public_verb():
    assert rf.reconstruct_ is reconstruct_
