"""Spaces as files: what they say, and what is said of those that are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from common.spaces import SPACE, edited, small_network, small_space
from rankfold.errors import InputError
from rankfold.explore import load_space
from rankfold.explore.fields import fields
from rankfold.explore.settle import arrays_of
from rankfold.explore.space_file import space_from_json
from rankfold.machine import load_chip


def test_every_point_has_a_number_and_a_chip_of_its_own() -> None:
    space = small_space()
    size = space.size(2)
    assert size == 2 * 2 * 2 * 2 * 3 * 2
    points = [space.point(number, 2) for number in range(size)]
    for point in points:
        indices = (point.network, point.plan, point.chip, *point.values)
        assert space.number(indices, 2) == point.number
    networks = [small_network("a"), small_network("b")]
    assert len({tuple(space.labels(point, networks).values()) for point in points}) == size
    assert len({space.chip(point) for point in points}) == size // 4  # of each network and plan


def test_values_reach_the_fields_that_they_name() -> None:
    vary = {
        "hardware/cells/bits": [1],
        "hardware/adc/mux": [4],
        "hardware/adc/bits": {"from": 3, "to": 3},
        "hardware/array": ["128x96"],
        "hardware/technology": ["rram-32nm"],
        "interconnect/kind": ["bus"],
        "cores/count": [9],
        "buffer/size": [{"value": 2, "unit": "MiB"}],
        "memory/energy": [{"value": 3, "unit": "pJ/bit"}],
        "array/read_time": [250],
    }
    space = small_space(vary=vary)
    chip = space.chip(space.point(0, 1))
    base = load_chip("rram-22nm")
    assert (chip.hardware.array.rows, chip.hardware.array.columns, chip.hardware.array.cell_bits) == (
        128,
        96,
        1,
    )
    assert (chip.hardware.mux, chip.hardware.adc_bits, chip.hardware.technology) == (4, 3, "rram-32nm")
    assert (chip.cores.count, chip.cores.rate, chip.interconnect.kind) == (9, base.cores.rate, "bus")
    assert chip.buffer.size == 2 << 20 and chip.buffer.energy == base.buffer.energy
    assert chip.memory is not None and chip.memory.energy == 3000.0
    assert chip.read_time == 250
    assert [axis.early for axis in space.axes] == sorted(axis.early for axis in space.axes)


def test_every_figure_of_a_chip_is_a_field() -> None:
    """Also those that a later version adds."""
    from rankfold.machine.figures import FIGURES

    assert set(FIGURES) <= set(fields())


def test_arrays_that_contradict_themselves_are_left_out() -> None:
    vary = {"hardware/array/rows": [16, 64], "hardware/array/rows_driven": [32]}
    assert [array.rows for array in arrays_of(small_space(vary=vary))] == [64]


def test_ranges_hold_both_ends() -> None:
    def values(entry: dict[str, Any]) -> list[str]:
        return [choice.label for choice in small_space(vary={"cores/rate": entry}).axes[0].choices]

    assert values({"from": 1, "to": 8, "times": 2}) == ["1", "2", "4", "8"]
    assert values({"from": 0.1, "to": 0.7, "step": 0.2}) == ["0.1", "0.3", "0.5", "0.7"]
    assert values({"from": 1, "to": 3, "unit": "TOPS"}) == ["1 TOPS", "2 TOPS", "3 TOPS"]


def test_files_lie_beside_the_space(tmp_path: Path) -> None:
    from rankfold.machine import chip_text

    (tmp_path / "mine.yaml").write_text(chip_text("rram-22nm"))
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(edited(chip="mine.yaml")))
    assert load_space(tmp_path / "space.yaml").chips == (load_chip("rram-22nm"),)


def test_memories_that_cost_nothing_are_warned_of() -> None:
    assert small_space().warnings == ()
    (warning,) = small_space(vary={"buffer/size": [1024, 2048]}).warnings
    assert "buffer/area and buffer/energy do not" in warning
    (warning,) = small_space(vary={"cores/rate": [1e9]}).warnings
    assert warning.startswith("vary/cores/rate: cores/rate is 1e+09 operation/ns")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"chip": "rram-22m"}, "did you mean rram-22nm?"),
    ({"vary": {"buffer/sise": [1]}}, "vary/buffer/sise: no field of a chip is there"),
    ({"vary": {"buffer/size": ["big"]}}, "vary/buffer/size: 0: buffer/size: 'big' is not of type"),
    ({"vary": {"buffer/size": [-4]}}, "buffer/size (=-4) must be above 0"),
    ({"vary": {"buffer/size": [{"value": 4, "unit": "kiB"}]}}, "unit (=kiB) must be one of"),
    ({"vary": {"buffer/size": []}}, "at vary/buffer/size: [] should be non-empty"),
    ({"vary": {"buffer/size": [4, 4]}}, "vary/buffer/size: 4 stands there twice"),
    ({"vary": {"buffer/size": {"from": 8, "to": 4}}}, "from (=8) must be at most to (=4)"),
    ({"vary": {"cores/rate": {"from": 0, "to": 4, "times": 2}}}, "above 0 where there is times"),
    (
        {"vary": {"cores/rate": {"from": 1, "to": 4, "step": 1, "times": 2}}},
        "step and times do not go together",
    ),
    ({"vary": {"cores/rate": {"from": 1, "to": 1e9}}}, "at most 10,000 values"),
    ({"vary": {"buffer": [4]}}, "vary/buffer: 0: 4 must be an object"),
    ({"vary": {"buffer": [{"sise": 4}]}}, "did you mean buffer/size?"),
    (
        {"vary": {"buffer": [{"size": 4}], "buffer/size": [8]}},
        "it sets buffer/size, which vary/buffer sets, too",
    ),
    ({"vary": {"hardware/array": ["64"]}}, "hardware/array (=64) must be rows x columns"),
    ({"vary": {"hardware/cells/bits": [0]}}, "hardware/cells/bits: 0 is less than the minimum"),
    ({"vary": {"hardware": ["none"]}}, "hardware (=none) must be one of"),
    (
        {"vary": {"hardware/technology": ["rram-23nm"]}},
        "vary/hardware/technology: 0: technology (=rram-23nm)",
    ),
    ({"vary": {"interconnect/kind": ["ring"]}}, "'ring' is not one of ['bus', 'mesh']"),
    ({"plans": [{"method": "low-rnk"}]}, "did you mean low-rank?"),
    ({"plans": [{"method": "low-rank"}]}, "plans/0: method low-rank needs"),
    ({"plans": [{"rank": "1/8"}]}, "rank needs method beside it"),
    ({"plans": [{"method": "low-rank", "rank": 4, "entries": 2, "file": "a.json"}]}, "does not go with file"),
    ({"plans": [{"file": "none.json"}]}, "none.json"),
    ({"plans": [{"budget": "cycles=4x"}]}, "plans/0: "),
    ({"plans": [{"budget": "energy=4nJ"}]}, "it depends on the technology, which varies"),
    ({"plans": [{"budget": "cycles=50%", "kinds": "windows"}]}, "plans/0: "),
    ({"plans": [{"bits": 4}, {"bits": 4}]}, "it is called dense, 4 bits as plans/0 is"),
    ({"plans": [{"bits": 9}]}, "at plans/0/bits: 9 is greater than the maximum of 8"),
    ({"objective": "power"}, "at objective: 'power' is not one of"),
    ({"more": 1}, "'more' was unexpected"),
    ({"_version": 2}, "1 was expected"),
]


@pytest.mark.parametrize(("changes", "words"), WRONG)
def test_a_wrong_space_is_told_in_one_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        space_from_json(edited(**changes), "space.yaml")
    assert str(caught.value).startswith("space.yaml is no space: ") and words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"chip: [", b"\xff\xfe", b"7", b"chip: {a: *b}"])
def test_a_file_that_is_no_yaml_is_told(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"space\.yaml"):
        load_space(path)
    with pytest.raises(InputError, match="No such file"):
        load_space(tmp_path / "none.yaml")


def test_a_space_without_fields_is_one_chip_and_a_dense_network() -> None:
    space = space_from_json({key: SPACE[key] for key in ("_type", "_version", "chip")}, "space.yaml")
    assert space.size(1) == 1 and space.chip(space.point(0, 1)) == load_chip("rram-22nm")
    assert space.varying(1) == ()
