"""What becomes of each kind of layer in an ONNX file."""

from rankfold.surgery.onnx.kinds.kind import DecomposedLayer, KindOnnx, StoredLayer, onnx_of

__all__ = ["DecomposedLayer", "KindOnnx", "StoredLayer", "onnx_of"]
