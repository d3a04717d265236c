"""Latencies: samples, intervals of ratios, the interleaved protocol."""
