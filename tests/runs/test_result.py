"""`result.json` and `history.csv`: read as they were written, refused in one sentence where spoilt."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankfold.errors import InputError
from rankfold.plan import ChannelLayer, DenseLayer, LowRankLayer, PatDNNLayer, SupportLayer
from rankfold.runs.folder import load_history, save_history
from rankfold.runs.result import Result
from rankfold.training.epoch_record import EpochRecord

RUNS = Path(__file__).parents[1] / "data" / "version-0.1" / "runs"
FILES = sorted(RUNS.glob("*/result.json"))
CONTENT = json.loads((RUNS / "mixed" / "result.json").read_text())
# A few layers are enough to be spoilt.
del CONTENT["layers"][3:], CONTENT["energy"]["layers"][2:]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_what_version_0_1_wrote_is_written_again(path, tmp_path):
    result = Result.load(path)
    result.save(tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == json.loads(path.read_text())
    assert list(json.loads((tmp_path / "again.json").read_text())) == list(json.loads(path.read_text()))
    assert Result.load(tmp_path / "again.json") == result


def test_old_results_lack_what_came_later(tmp_path):
    old = copy.deepcopy(CONTENT)
    for name in ("planned_conversions", "energy"):
        del old[name]
    del old["accuracy"]["arrays"]
    for layer in old["layers"]:
        for name in ("output_error", "shape", "pruning", "entries", "becomes"):
            layer.pop(name, None)
    path = tmp_path / "result.json"
    path.write_text(json.dumps(old))
    result = Result.load(path)
    assert result.energy is None and result.accuracy.arrays is None
    assert {(layer.shape, layer.pruning, layer.entries) for layer in result.layers} == {(None, None, None)}


def test_a_layer_says_what_it_became():
    some = Result.load(RUNS / "mixed" / "result.json").layers[0]
    bare = {"groups": None, "rank": None, "pruning": None, "entries": None}

    def kind(**values):
        return replace(some, **{**bare, **values}).layer_kind

    assert kind(kind="dense") == DenseLayer()
    assert kind(kind="low-rank", groups=4, rank=2) == LowRankLayer(4, 2)
    assert kind(kind="low-rank", groups=4, rank=2, entries=3) == LowRankLayer(4, 2, 3)
    assert kind(kind="pattern-pruned", pruning="patdnn", entries=4) == PatDNNLayer(4)
    assert kind(kind="pattern-pruned", pruning="support", entries=4) == SupportLayer(4)
    # How many channels it kept stands in the plan alone.
    assert kind(kind="channel-pruned") == ChannelLayer(some.shape.in_channels, some.shape.out_channels)
    assert kind(kind="channel-pruned", shape=None) is None
    assert kind(kind="folded") is None
    assert kind(kind="low-rank") is None


@pytest.mark.parametrize(
    "kind",
    [
        DenseLayer(),
        LowRankLayer(4, 2, 3, "1b " * 7 + "1b"),
        PatDNNLayer(4, "ideal"),
        ChannelLayer(8, 12),
    ],
    ids=lambda kind: kind.name,
)
def test_a_result_says_all_of_what_a_layer_became(kind, tmp_path):
    content = copy.deepcopy(CONTENT)
    content["layers"][0] |= {"kind": kind.name, "becomes": kind.to_json()}
    path = tmp_path / "result.json"
    path.write_text(json.dumps(content))
    result = Result.load(path)
    assert result.layers[0].layer_kind == kind
    result.save(path)
    assert Result.load(path) == result


@pytest.mark.parametrize(
    ("becomes", "message"),
    [
        ({"kind": "low-rank", "groups": 2, "rank": 1}, "kind (=dense) must be that of becomes (low-rank)"),
        ({"kind": "dense", "rank": 1}, "became no dense layer: at top level"),
        ({"groups": 2}, "at layers/0/becomes"),
        ({"kind": "dense", "pruning": "patdnn"}, "only a pattern-pruned layer has pruning"),
    ],
)
def test_what_a_layer_cannot_have_become_is_refused(becomes, message, tmp_path):
    content = copy.deepcopy(CONTENT)
    content["layers"][0] |= {"kind": "dense", "becomes": becomes}
    path = tmp_path / "result.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="is not a complete result: ") as refused:
        Result.load(path)
    assert message in str(refused.value)


WRONG = [
    ("array", [64], "at array"),
    ("array", ["64", 64], "at array/0"),
    ("accuracy", {"final": 0.9}, "at accuracy"),
    ("accuracy/final", 1.5, "at accuracy/final"),
    ("accuracy/final", True, "at accuracy/final"),
    ("accuracy/baseline", "high", "at accuracy/baseline"),
    ("cycles", {}, "at cycles"),
    ("cycles/im2col", 0, "at cycles/im2col"),
    ("cycles/sdk", None, "at cycles/sdk"),
    ("cycles/sdk", 10**400, "at cycles/sdk"),
    ("data/classes", "ten", "at data/classes"),
    ("data/image_size", [32], "at data/image_size"),
    ("energy/layers", None, "at energy/layers"),
    ("energy/energy", "much", "at energy/energy"),
    ("energy/layers/0/components", [1], "at energy/layers/0/components"),
    ("energy/unknown", 1, "at energy"),
    ("input", [3, 32], "at input"),
    ("layers", [], "at layers"),
    ("layers", {"0": 1}, "at layers"),
    ("layers/0/cycles", {"sdk": 1}, "at layers/0/cycles"),
    ("layers/0/cycles/sdk", 1.5, "at layers/0/cycles/sdk"),
    ("layers/0/kind", 3, "at layers/0/kind"),
    ("layers/0/weight_bits", 9, "at layers/0/weight_bits"),
    ("layers/0/window", [1, 2, 3], "at layers/0/window"),
    ("layers/0/shape", "wide", "at layers/0/shape"),
    ("layers/0/shape/kernel", [99, 99], "does not fit the padded input"),
    ("layers/0/shape/groups", 5, "must divide"),
    ("parameters_before", 0, "at parameters_before"),
    ("planned_cycles", -1, "at planned_cycles"),
    ("planned_cycles", 4.0, "at planned_cycles"),
    ("recipe", {}, "at recipe"),
    ("recipe/epochs", "many", "at recipe/epochs"),
    ("seconds", -1, "at seconds"),
    ("untouched", [["a"]], "at untouched/0"),
    ("versions/torch", 2, "at versions/torch"),
]


@pytest.mark.parametrize(("place", "value", "message"), WRONG)
def test_wrong_values_are_refused_with_their_place(place, value, message, tmp_path):
    content = copy.deepcopy(CONTENT)
    *steps, last = place.split("/")
    part = content
    for step in steps:
        part = part[int(step) if isinstance(part, list) else step]
    part[last] = value
    path = tmp_path / "result.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="is not a complete result: ") as refused:
        Result.load(path)
    assert str(refused.value).startswith(f"{path} is not") and message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "is not a result of this version; expected _type rankfold.result, _version 1"),
        ('{"_type": "rankfold.plan", "_version": 1}', "is not a result of this version"),
        ('{"_type": "rankfold.result", "_version": 2}', "is not a result of this version"),
        ("{", "is not valid JSON"),
        (f'{{"a": {"9" * 5000}}}', "is not valid JSON: a whole number of 5,000 digits is too long"),
        ('{"a": NaN}', "is not valid JSON: NaN is no number of JSON"),
        ('{"a": -Infinity}', "is not valid JSON: -Infinity is no number of JSON"),
        ('{"a": 1e999}', "is not valid JSON: the number 1e999 is too large"),
        ("[" * 100000, "is not valid JSON"),
    ],
)
def test_what_is_no_result_at_all(text, message, tmp_path):
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        Result.load(path)
    assert message in str(refused.value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def places(part, place=()):
    """The way to every value of a JSON content."""
    yield place
    if isinstance(part, dict):
        for key, value in part.items():
            yield from places(value, (*place, key))
    if isinstance(part, list):
        for index, value in enumerate(part):
            yield from places(value, (*place, index))


PLACES = [place for place in places(CONTENT) if place]


@given(edits=st.lists(st.tuples(st.sampled_from(PLACES), st.booleans(), VALUES), min_size=1, max_size=3))
def test_a_result_that_was_edited_loads_or_is_refused(edits, tmp_path_factory):
    """Whatever stands there then: never another error, and what loads is written and read as the same."""
    content = copy.deepcopy(CONTENT)
    for (*steps, last), remove, value in edits:
        part = content
        try:
            for step in steps:
                part = part[step]
            if remove:
                del part[last]
            else:
                part[last] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier edit took the place away
    path = tmp_path_factory.getbasetemp() / "edited-result.json"
    path.write_text(json.dumps(content))
    try:
        result = Result.load(path)
    except InputError as error:
        assert str(path) in str(error)
        return
    result.save(path)
    assert Result.load(path) == result
    for layer in result.layers:
        assert layer.layer_kind is None or layer.layer_kind.name == layer.kind


HISTORY = (
    EpochRecord(1, 0.05, 1.5, 0.5, None, 2.0, images_per_second=700.0),
    EpochRecord(2, 0.01, 1.25, 0.75, 0.5, 2.0, images_per_second=700.0, label_loss=1.0, teacher_loss=1.5),
)


def test_a_history_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "history.csv"
    save_history(path, HISTORY)
    assert load_history(path) == HISTORY
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line.rsplit(",", 2)[0] for line in lines))
    assert load_history(path) == tuple(replace(r, label_loss=None, teacher_loss=None) for r in HISTORY)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1.5", "nan"),
        ("1.5", "inf"),
        ("1.5", "high"),
        ("1,0.05,1.5,0.5,,2.0,700.0,,", "1,0.05,1.5"),
        ("1,0.05", "1.5,0.05"),
        ("epoch,", "age,"),
        ("1.25", "\0"),
        ("1.25", "\udcff"),
    ],
)
def test_a_spoilt_history_is_refused(old, new, tmp_path):
    path = tmp_path / "history.csv"
    save_history(path, HISTORY)
    text = path.read_text()
    assert old in text
    path.write_bytes(text.replace(old, new, 1).encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=r"history\.csv is not a training history"):
        load_history(path)
