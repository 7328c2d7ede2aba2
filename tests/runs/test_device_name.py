"""What a record says of the device."""

import pytest
import torch

from rankfold.runs import record


@pytest.mark.parametrize(("passes", "convolutions"), [(True, True), (True, False), (False, False)])
def test_it_says_whose_sums_they_are(monkeypatch, passes, convolutions):
    monkeypatch.setattr(record, "kernels", lambda: object() if passes else None)
    monkeypatch.setattr(record, "convolution_kernels", lambda: object() if convolutions else None)
    ending = ", kernels in C" * passes + ", convolutions on AMX" * convolutions
    name = record.device_name(torch.device("cpu"))
    instructions = torch.backends.cpu.get_cpu_capability()
    assert name == f"CPU, {torch.get_num_threads()} threads, {instructions}{ending}"
