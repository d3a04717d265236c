"""Gradients by PyTorch, which takes seconds to load: criteria import this package when they score."""
