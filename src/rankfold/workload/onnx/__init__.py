"""The layers of ONNX files."""
