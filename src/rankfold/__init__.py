"""Rankfold makes convolutional networks small and fast on in-memory-computing arrays."""

__version__ = "0.1.0"
