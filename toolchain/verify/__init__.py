"""Checking a bundle again: its files, its engine, its equivalence, its latency, its accuracy."""
