"""The exact choice, and what layers may become, can be had without torch."""

import subprocess
import sys

import pytest

WITHOUT = """
import sys
sys.modules["torch"] = None  # whoever imports it fails
"""
ENTRIES = """
from rankfold.mapping import ArraySpec
from rankfold.planning.exact.slots import layer_slots
from rankfold.planning.kinds import layer_entries
from rankfold.workload import zoo_network
slots = layer_slots(zoo_network("resnet20"), ArraySpec(64, 64), 4)
assert len(list(layer_entries(slots[1], ()))) > 3
assert any(entry.kind.name == "window" for entry in layer_entries(slots[1], ()))
"""


@pytest.mark.parametrize(
    "code", ["import rankfold.planning.exact", "import rankfold.planning.exact.costing", ENTRIES]
)
def test_without_torch(code):
    done = subprocess.run([sys.executable, "-c", WITHOUT + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
