"""What a record says of the device."""

import pytest
import torch

from rankfold.runs import record


@pytest.mark.parametrize(("there", "ending"), [(object(), ", kernels in C"), (None, "")])
def test_it_says_whose_sums_they_are(monkeypatch, there, ending):
    monkeypatch.setattr(record, "kernels", lambda: there)
    name = record.device_name(torch.device("cpu"))
    instructions = torch.backends.cpu.get_cpu_capability()
    assert name == f"CPU, {torch.get_num_threads()} threads, {instructions}{ending}"
