"""Reference networks as plain PyTorch with their ONNX export, and the quick start model."""
