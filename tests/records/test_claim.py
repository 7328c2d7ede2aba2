"""Files and folders are taken for work that is new, or goes on where it is this very work."""

import json
from dataclasses import replace

import pytest

from rankfold.errors import InputError
from rankfold.records.claim import Claim, as_read_back
from rankfold.records.parts import PartsFile
from rankfold.records.schema import schema_validator
from rankfold.records.typed import write_typed

CLAIM = Claim(
    "rankfold.work",
    2,
    other="holds other work (other {keys})",
    same="holds this work",
    elsewhere="use another place",
)
FLAT = Claim("rankfold.work", 2, other="has other {keys}", same="has this", elsewhere="go away", nested=False)
IDENTITY = {"network": "small", "sizes": [1, 2]}
STRAY = ".marker.json.ab12_xyz.tmp"


def test_a_new_folder_is_taken_and_the_same_work_goes_on(tmp_path):
    folder = tmp_path / "a" / "b"
    assert CLAIM.folder(folder, "marker.json", IDENTITY, False, work="work") is None
    write_typed(folder / "marker.json", "rankfold.work", 2, {"identity": IDENTITY, "more": 1})
    (folder / STRAY).write_text("{")
    held = CLAIM.folder(folder, "marker.json", IDENTITY, True, work="work")
    assert held["more"] == 1
    assert [path.name for path in folder.iterdir()] == ["marker.json"]
    with pytest.raises(
        InputError, match="holds this work; give resume=True to go on with it, or use another place"
    ):
        CLAIM.folder(folder, "marker.json", IDENTITY, False, work="work")


@pytest.mark.parametrize(
    ("identity", "other"),
    [
        ({"network": "large", "sizes": [1, 2]}, r"\(other network\)"),
        ({"sizes": [2]}, r"\(other network, sizes\)"),
        ({**IDENTITY, "noise": {"bits": 3}}, r"\(other noise\)"),
    ],
)
def test_other_work_is_refused_with_what_differs(identity, other, tmp_path):
    write_typed(tmp_path / "marker.json", "rankfold.work", 2, {"identity": IDENTITY})
    with pytest.raises(InputError, match=f"holds other work {other}; use another place"):
        CLAIM.folder(tmp_path, "marker.json", identity, True, work="work")


def test_an_identity_may_stand_among_other_values(tmp_path):
    write_typed(tmp_path / "marker.json", "rankfold.work", 2, {**IDENTITY, "versions": 3})
    assert FLAT.folder(tmp_path, "marker.json", IDENTITY, True, work="work")["versions"] == 3
    with pytest.raises(InputError, match="has other network; go away"):
        FLAT.folder(tmp_path, "marker.json", {"network": "large"}, True, work="work")


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"_type": "rankfold.work", "_version": 2},
        {"_type": "rankfold.work", "_version": 1, "identity": IDENTITY},
        {"_type": "rankfold.plan", "_version": 2, "identity": IDENTITY},
        {"_type": "rankfold.work", "_version": 2, "identity": []},
    ],
)
def test_what_is_not_ours_is_refused_and_kept(content, tmp_path):
    marker = tmp_path / "marker.json"
    marker.write_text(json.dumps(content))
    with pytest.raises(
        InputError, match=r"marker\.json is not ours \(rankfold\.work\), or of another version"
    ):
        CLAIM.folder(tmp_path, "marker.json", IDENTITY, True, work="work")
    assert json.loads(marker.read_text()) == content


def test_full_folders_and_wrong_places_are_refused(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    with pytest.raises(InputError, match="is not empty and holds no work; use an empty or a new folder"):
        CLAIM.folder(tmp_path, "marker.json", IDENTITY, True, work="work")
    assert CLAIM.folder(tmp_path, "marker.json", IDENTITY, True, work="work", besides=["notes.txt"]) is None
    with pytest.raises(InputError, match=r"notes\.txt is a file; give a folder for the results"):
        CLAIM.folder(file, "marker.json", IDENTITY, True, work="work")
    with pytest.raises(InputError, match="is a folder; give a file for the result"):
        CLAIM.file(tmp_path, IDENTITY, True)
    assert file.read_text() == "mine"


def parts(path, identity=IDENTITY, resume=False):
    validator = schema_validator("rankfold.runs", "simulation.schema.json")
    return PartsFile.claim(path, "rankfold.simulation", identity, resume, validator)


def test_parts_are_done_once_and_known_again(tmp_path):
    path = tmp_path / "parts.json"
    first = parts(path)
    calls = []
    for _ in range(2):
        assert first.once("ideal", lambda: calls.append(1) or 0.5) == 0.5
    assert calls == [1]
    # On disk after each part, so that a killed process loses none.
    again = parts(path, resume=True)
    assert again.done == {"ideal": 0.5}
    again.save(summary=[1])
    assert json.loads(path.read_text())["summary"] == [1]
    with pytest.raises(
        InputError, match="holds other work of this kind, with other settings; give another file"
    ):
        parts(path, {**IDENTITY, "network": "large"}, resume=True)
    with pytest.raises(
        InputError, match="already holds this work; give resume=True to go on with it, or give"
    ):
        parts(path)


def test_parts_without_a_file_are_done_as_well():
    nowhere = parts(None)
    assert nowhere.once("ideal", lambda: 1.0) == 1.0
    nowhere.save()


def test_an_identity_is_compared_as_files_hold_it(tmp_path):
    path = tmp_path / "parts.json"
    with_tuple = {"layers": ("a", "b")}
    parts(path, with_tuple).save()
    assert parts(path, with_tuple, resume=True).identity == as_read_back(with_tuple) == {"layers": ["a", "b"]}


def test_parts_that_older_files_lack_are_not_compared(tmp_path):
    later = replace(CLAIM, later=("colour",))
    old = {"_type": CLAIM.kind, "_version": CLAIM.version, "identity": IDENTITY}
    (tmp_path / "marker.json").write_text(json.dumps(old))
    wanted = {**IDENTITY, "colour": "red"}
    assert later.folder(tmp_path, "marker.json", wanted, True, work="work") == old
    with pytest.raises(InputError, match="colour"):
        CLAIM.folder(tmp_path, "marker.json", wanted, True, work="work")
    new = {**old, "identity": {**IDENTITY, "colour": "blue"}}
    (tmp_path / "marker.json").write_text(json.dumps(new))
    with pytest.raises(InputError, match="colour"):
        later.folder(tmp_path, "marker.json", wanted, True, work="work")
