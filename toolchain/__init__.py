"""The compiler: graph analysis, plan, surgery, targets, measuring, strategies, emission, command line."""

__version__ = "0.1.0"
