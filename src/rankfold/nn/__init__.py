"""Torch modules and surgery: low-rank convolutions, quantisers, the model zoo."""
