"""The plans that all processes of a study choose from."""

from dataclasses import replace

import optuna
import pytest

from common.search_problem import CHOICES, STARTS, accuracy, measured_in, search
from rankfold.errors import InputError
from rankfold.plan import LayerPlan, LowRankLayer, SupportLayer
from rankfold.planning.exact import Candidate, LayerChoices
from rankfold.planning.search.search import search_plans
from rankfold.planning.search.settings import SearchSettings
from rankfold.planning.search.space import SearchSpace
from rankfold.workload import ConvShape

BITS = {"weight_bits": 4, "input_bits": 4}
SHARED = {"entries": 5, "support": "1f 1f", "mapping": "sdk", **BITS}
# As version 0.1 wrote it into a study.
RECORDED = {
    "layers": [
        [
            {
                "entry": {"name": "c", "kind": "dense", "mapping": "best", **BITS},
                "cycles": 9,
                "arrays": 1,
                "energy": None,
                "weights": 9,
                "loss": 0.0,
            },
            {
                "entry": {
                    "name": "c",
                    "kind": "pattern-pruned",
                    "pruning": "support",
                    "steering": "plain",
                    **SHARED,
                },
                "cycles": 3,
                "arrays": 1,
                "energy": 2.5,
                "weights": 9,
                "loss": 0.25,
            },
            {
                "entry": {"name": "c", "kind": "low-rank", "groups": 2, "rank": 4, **SHARED},
                "cycles": 2,
                "arrays": 1,
                "energy": 2.5,
                "weights": 9,
                "loss": 0.5,
            },
        ]
    ],
    "starts": [[1]],
}


def test_a_space_of_version_0_1_is_read_and_written():
    dense = Candidate(LayerPlan("c", mapping="best", **BITS), 9, 1, None, 9)
    support = Candidate(LayerPlan("c", SupportLayer(5, support="1f 1f"), **BITS), 3, 1, 2.5, 9, 0.25)
    pair = Candidate(LayerPlan("c", LowRankLayer(2, 4, 5, "1f 1f"), **BITS), 2, 1, 2.5, 9, 0.5)
    choices = LayerChoices(ConvShape("c", 2, 8, (3, 3), (8, 8)), dense, (dense, support, pair))
    space = SearchSpace.of([choices], [[support]])
    assert SearchSpace.from_json(RECORDED, ["c"]) == space
    assert space.to_json() == RECORDED


def test_all_processes_take_the_candidates_of_the_first(tmp_path):
    """Another machine's calibration may find others: neither mixed up with them nor refused."""
    path = tmp_path / "study.log"
    search(30, path, starts=STARTS)
    others = [replace(CHOICES[0], candidates=CHOICES[0].candidates[1:]), *CHOICES[1:]]
    result = search_plans(others, accuracy, STARTS[1:], SearchSettings(40, path))
    assert result.trials == 40
    assert [plan.chosen for plan in result.starts] == list(dict.fromkeys(STARTS))
    assert len(measured_in(path)) == 40
    for plan in result.front:
        assert all(one in layer.candidates for one, layer in zip(plan.chosen, CHOICES, strict=True))
    assert result == search(40, path, starts=STARTS)


def test_when_two_begin_at_once_the_first_in_the_journal_counts(tmp_path):
    studies = []
    for _ in range(2):
        journal = optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.log"))
        storage = optuna.storages.JournalStorage(journal)
        studies.append(
            optuna.create_study(
                storage=storage, study_name="s", load_if_exists=True, directions=["maximize"] * 2
            )
        )
    fewer = [replace(CHOICES[0], candidates=CHOICES[0].candidates[1:]), *CHOICES[1:]]
    spaces = [SearchSpace.of(choices, ()) for choices in (fewer, CHOICES)]
    for study, space, name in zip(studies, spaces, ("space b", "space a"), strict=True):
        study.set_user_attr(name, space.to_json())  # neither had seen the other's
    assert [space.shared(study) for study, space in zip(studies, spaces, strict=True)] == [
        spaces[0],
        spaces[0],
    ]


@pytest.mark.parametrize("damage", ["cycles", "name", "kind", "start"])
def test_damaged_candidates_are_refused(tmp_path, damage):
    path = tmp_path / "study.log"
    search(5, path, starts=STARTS)
    old, new = {
        "cycles": ('"cycles":4,', '"cycles":"4",'),
        "name": ('"name":"conv1"', '"name":"conv7"'),
        "kind": ('"kind":"low-rank"', '"kind":"other"'),
        "start": ("[3,3,3,3,3,3,0]", "[3,3,3,3,3,9,0]"),
    }[damage]
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match="is not a study, or it is damaged; give another file"):
        search(10, path, starts=STARTS)
