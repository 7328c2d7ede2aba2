"""Loading networks by name or factory, and weights into them."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from rankfold.errors import InputError
from rankfold.models.load import apply_weights, check_classes, load_model, read_weights
from rankfold.models.zoo import build
from rankfold.workload import trace


def test_load_model(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def good(num_classes, in_channels=3): return nn.Sequential(nn.Conv2d(in_channels, num_classes, 1))\n"
        "def bad(): raise RuntimeError('no such size')\ndef nothing(): return 3\nvalue = 7\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_model("mine:good", 7, 2)[0].weight.shape == (7, 2, 1, 1)
    state = torch.get_rng_state()
    first, second = load_model("resnet8", 10, seed=3), load_model("resnet8", 10, seed=3)
    assert torch.equal(first.conv1.weight, second.conv1.weight)
    assert torch.equal(torch.get_rng_state(), state)
    for name, message in (
        ("resnet2000", "unknown model resnet2000; known are resnet8"),
        ("nowhere:make", "cannot be imported: No module named 'nowhere'"),
        ("mine:missing", "cannot be imported"),
        ("mine:bad", r"the factory of model mine:bad failed: no such size"),
        ("mine:nothing", "returned a int; it must return"),
        ("mine:value", "is a int; expected a function or class"),
    ):
        with pytest.raises(InputError, match=message):
            load_model(name, 10)
    with pytest.raises(
        InputError, match=r"gives an output of \(1, 10\) for one image, the data has 12 classes"
    ):
        check_classes(first, "resnet8", (3, 32, 32), 12)


def test_weights_of_another_network_are_refused(tmp_path):
    model = build("resnet8", 10)
    path = tmp_path / "w.pt"
    torch.save({"state_dict": {f"module.{key}": value for key, value in model.state_dict().items()}}, path)
    apply_weights(build("resnet8", 10, seed=1), read_weights(path), "w.pt")
    with pytest.raises(InputError, match=r"checkpoint w\.pt is for another network or number of classes: fc"):
        apply_weights(build("resnet8", 11), read_weights(path), "w.pt")
    with pytest.raises(InputError, match=r"is for another network: it lacks layer1\.1"):
        apply_weights(build("resnet20", 10), read_weights(path), "w.pt")
    with pytest.raises(InputError, match=r"it also holds layer1\.1"):
        apply_weights(model, build("resnet20", 10).state_dict(), "w.pt")
    whole = path.read_bytes()
    for name in ("cut.pt", "cut.safetensors"):
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InputError, match="is truncated, damaged or not a plain state dict"):
            read_weights(tmp_path / name)
    torch.save(model, tmp_path / "pickled.pt")
    with pytest.raises(InputError, match="not a plain state dict"):
        read_weights(tmp_path / "pickled.pt")
    with pytest.raises(InputError, match="does not exist"):
        read_weights(tmp_path / "none.pt")


def test_factories_that_end_the_process_are_refused(tmp_path, monkeypatch):
    (tmp_path / "quitting.py").write_text("import sys\n\n\ndef make():\n    sys.exit(0)\n")
    (tmp_path / "quits_at_once.py").write_text("raise SystemExit(0)\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"quitting:make failed: it ends the process \(sys.exit\)"):
        load_model("quitting:make", 10)
    with pytest.raises(InputError, match="quits_at_once:make cannot be imported: it ends the process"):
        load_model("quits_at_once:make", 10)


@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor")
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda weights: {0: torch.ones(1)}, "holds no state dict"),
        (lambda weights: {**weights, 7: torch.ones(1)}, "holds no state dict"),
        (lambda weights: [weights], "holds no state dict"),
        (lambda weights: {**weights, "w": weights["w"].to_sparse()}, "w is a sparse tensor"),
        (lambda weights: {**weights, "w": weights["w"].to(torch.complex64)}, "w is of complex numbers"),
        (lambda weights: {**weights, "w": weights["w"].to("meta")}, "w is without content"),
        (
            lambda weights: {**weights, "w": torch.quantize_per_tensor(weights["w"], 0.1, 0, torch.qint8)},
            "w is a quantised tensor",
        ),
    ],
)
def test_tensors_that_are_no_plain_numbers_are_refused(spoil, message, tmp_path):
    path = tmp_path / "weights.pt"
    weights = {"w": torch.ones(2, 2), "b": torch.zeros(2)}
    torch.save(weights, path)
    assert set(read_weights(path)) == {"w", "b"}
    torch.save(spoil(weights), path)
    with pytest.raises(InputError, match=message):
        read_weights(path)


class _Several(nn.Module):
    """Gives what it is told to, made of its logits."""

    def __init__(self, made):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)
        self.made = made

    def forward(self, x):
        return self.made(self.head(self.conv(x).mean((2, 3))))


def gives_a_tuple():
    return _Several(lambda logits: (None, logits, logits + 1))


def gives_a_dictionary():
    return _Several(lambda logits: {"features": logits + 1, "logits": logits})


def gives_an_object():
    return _Several(lambda logits: SimpleNamespace(hidden=logits + 1, logits=logits))


@pytest.mark.parametrize("name", ["gives_a_tuple", "gives_a_dictionary", "gives_an_object"])
def test_of_several_outputs_the_logits_or_the_first_tensor_count(name, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    torch.manual_seed(0)
    model = load_model(f"{Path(__file__).stem}:{name}", 5)
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(model(x), model.head(model.conv(x).mean((2, 3))))
    check_classes(model, name, (3, 8, 8), 5)
    assert [layer.name for layer in trace(model, (3, 8, 8)).layers] == ["conv", "head"]


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(InputError, match=r"is a folder; give the file with the weights, such as"):
        read_weights(tmp_path)


def test_classes_are_asked_for_where_weights_are_fresh():
    with pytest.raises(InputError, match="classes is missing: say how many resnet20 tells apart"):
        load_model("resnet20")
