"""Samples, splits and metrics: what accuracy is measured on, and how."""
