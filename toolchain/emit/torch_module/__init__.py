"""A readable PyTorch module, written from an ONNX graph."""
