"""Networks for other tools: ONNX files, array images, workload files, dense weights."""
