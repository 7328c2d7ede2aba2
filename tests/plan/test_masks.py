"""Masks of pruned layers, read from files of weights without torch."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.plan import LayerPlan, LowRankLayer, PatDNNLayer, Plan, load_masks, masks_for


def test_masks_are_found_by_the_names_of_their_layers(tmp_path):
    path = tmp_path / "model.safetensors"
    mask = np.random.default_rng(0).random((4, 2, 3, 3)) < 0.5
    save_file({"a.weight": np.ones((4, 2, 3, 3)), "a.mask": mask, "b.reduce.mask": ~mask, "mask": mask}, path)
    masks = load_masks(path)
    assert masks.keys() == {"a", "b.reduce"}
    assert masks["a"].dtype == bool and (masks["a"] == mask).all() and (masks["b.reduce"] == ~mask).all()


def test_a_file_is_read_only_for_plans_that_are_counted_by_masks(tmp_path):
    missing = tmp_path / "none.safetensors"
    pair = Plan("net", (1, 1, 1), ArraySpec(8, 8), (LayerPlan("a", LowRankLayer(1, 1)),))
    assert masks_for(pair, missing) == {}
    pruned = Plan("net", (1, 1, 1), ArraySpec(8, 8), (LayerPlan("a", PatDNNLayer(1)),))
    with pytest.raises(InputError, match=r"does not exist; give the model\.safetensors of a finished run"):
        masks_for(pruned, missing)


def test_damaged_files_are_refused(tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(b"\x08")
    with pytest.raises(InputError, match="is truncated or damaged"):
        load_masks(tmp_path / "cut.safetensors")
