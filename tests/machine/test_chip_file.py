"""Descriptions of chips, and what is said of wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rankfold.errors import InputError
from rankfold.machine import chip_names, chip_text, load_chip


def written(folder: Path, edit: Callable[[dict[str, Any]], Any], name: str = "rram-22nm") -> Path:
    content = yaml.safe_load(chip_text(name))
    edit(content)
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_a_copy_of_a_description_is_the_same_chip(tmp_path: Path) -> None:
    for name in chip_names():
        assert load_chip(written(tmp_path, lambda content: None, name)) == load_chip(name)


def test_units_are_read(tmp_path: Path) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["buffer"]["size"] = {"value": 1, "unit": "MiB"}
        content["buffer"]["energy"] = {"value": 1, "unit": "pJ/B"}
        content["memory"]["rate"] = {"value": 1, "unit": "GB/s"}
        content["cores"]["count"] = 4

    chip = load_chip(written(tmp_path, edit))
    assert (
        load_chip(
            written(tmp_path, lambda c: c["buffer"].update(size={"value": 4.1, "unit": "MB"}))
        ).buffer.size
        == 4_100_000
    )
    assert (chip.buffer.size, chip.buffer.energy) == (1 << 20, 125.0)
    assert chip.memory is not None and chip.memory.rate == 8.0
    assert chip.arrays == 64


WRONG = [
    (lambda c: c["buffer"].update(size={"value": 1, "unit": "Kib"}), r"buffer/size: unit \(=Kib\).*KiB"),
    (
        lambda c: c["buffer"].update(size={"value": 1e308, "unit": "KiB"}),
        r"size \(=1e\+308\) must be a finite",
    ),
    (lambda c: c["buffer"].update(energy=-1), r"buffer/energy \(=-1\) must be at least 0"),
    (
        lambda c: c["cells"].update(write_time={"value": 1, "unit": "h"}),
        r"cells/write_time: unit \(=h\) must be one of ns, ps, us, ms",
    ),
    (lambda c: c["cells"].update(endurance=0), r"cells/endurance \(=0\) must be above 0"),
    (lambda c: c["cores"].update(count=0), r"cores/count \(=0\) must be above 0"),
    (lambda c: c["cores"].update(arrays=1.5), r"cores/arrays \(=1.5\) must be a whole number"),
    (lambda c: c["cores"].update(count=100_000, arrays=100), "must be at most 1,048,576 arrays"),
    (lambda c: c["interconnect"].update(kind="ring"), "at interconnect/kind: 'ring' is not one of"),
    (lambda c: c.pop("buffer"), "'buffer' is a required property"),
    (lambda c: c.update(hardware="nonesuch"), "hardware"),
    (lambda c: c.update(colour="red"), "colour"),
    (
        lambda c: c.update(array={"conversion_time": 5}),
        "conversion_time says nothing without array/read_time",
    ),
    (
        lambda c: c.update(array={"read_time": {"value": 10, "unit": "ns"}, "conversion_time": 5}),
        "array/read_time .*leaves 1.25 ns for each of the 8 columns",
    ),
]


@pytest.mark.parametrize("edit, sentence", WRONG)
def test_wrong_descriptions_are_refused_with_the_place(
    tmp_path: Path, edit: Callable[[dict[str, Any]], Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence) as refused:
        load_chip(written(tmp_path, edit))
    assert "\n" not in str(refused.value)


def test_figures_far_from_what_is_known_are_warned_of(tmp_path: Path) -> None:
    chip = load_chip(written(tmp_path, lambda c: c["buffer"].update(energy={"value": 1e6, "unit": "pJ/bit"})))
    (warning,) = chip.warnings
    assert warning.startswith("buffer/energy is 1e+09 fJ/bit, and known chips have")


def test_unknown_names_are_refused_with_those_that_are_known() -> None:
    with pytest.raises(InputError, match=r"must be one of hermes, isaac, .*did you mean isaac\?"):
        load_chip("isaak")
