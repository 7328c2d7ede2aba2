"""Replacing the layers of an ONNX file as a plan says."""
