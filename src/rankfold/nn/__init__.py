"""Torch modules: low-rank, masked and quantised layers."""
