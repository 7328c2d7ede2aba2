"""Recipes: every number that training depends on is checked when it is given."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from rankfold.errors import InputError
from rankfold.training.recipe import Recipe


def test_the_default_recipe_is_valid_and_frozen() -> None:
    recipe = Recipe()
    assert recipe == Recipe(epochs=10, batch_size=128, seed=0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": 0},
        {"batch_size": 2},
        {"peak_rate": 1e-9},
        {"peak_rate": 1e3},
        {"warmup": 0.001},
        {"warmup": 0.999},
        {"momentum": 0.5},
        {"weight_decay": 0.0},
        {"label_smoothing": 0.0},
        {"label_smoothing": 0.99},
        {"seed": 2**31 - 1},
        *({"augment": name} for name in ("crop-flip", "crop", "none")),
        *({"precision": name} for name in ("auto", "float32", "bfloat16")),
    ],
)
def test_values_at_the_edge_are_accepted(values: dict[str, Any]) -> None:
    recipe = Recipe(**values)
    assert {name: getattr(recipe, name) for name in values} == values


@pytest.mark.parametrize(
    "name, value, rule",
    [
        ("epochs", -1, "0 or more"),
        ("batch_size", 1, "at least 2, as batch norm needs"),
        ("batch_size", 0, "at least 2"),
        ("peak_rate", 0.0, "a positive number"),
        ("peak_rate", -0.1, "a positive number"),
        ("peak_rate", math.inf, "a positive number"),
        ("peak_rate", math.nan, "a positive number"),
        ("warmup", 0.0, "a share between 0 and 1"),
        ("warmup", 1.0, "a share between 0 and 1"),
        ("warmup", math.nan, "a share between 0 and 1"),
        ("momentum", 0.0, "between 0 and 1"),
        ("momentum", 1.0, "between 0 and 1"),
        ("weight_decay", -1e-9, "0 or more"),
        ("weight_decay", math.inf, "0 or more"),
        ("weight_decay", math.nan, "0 or more"),
        ("label_smoothing", -0.1, "at least 0 and below 1"),
        ("label_smoothing", 1.0, "at least 0 and below 1"),
        ("augment", "flip", "one of crop-flip, crop, none"),
        ("augment", "", "one of crop-flip, crop, none"),
        ("precision", "float16", "one of auto, float32, bfloat16"),
        ("epochs", 1.5, "a whole number"),
        ("batch_size", 2.5, "a whole number"),
        ("seed", True, "a whole number"),
        ("seed", -1, "between 0 and 2147483647"),
        ("seed", 2**31, "between 0 and 2147483647"),
    ],
)
def test_other_values_are_refused_by_name(name: str, value: Any, rule: str) -> None:
    with pytest.raises(InputError) as error:
        Recipe(**{name: value})
    assert str(error.value).startswith(f"{name} (={value}) must be {rule}")


def test_a_changed_copy_is_checked_too() -> None:
    with pytest.raises(InputError, match="batch_size"):
        dataclasses.replace(Recipe(), batch_size=1)
