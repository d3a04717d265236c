"""Targets: build an engine from ONNX, describe it, run it; one target a file."""
