"""Weighted ops as linear maps of columns, one op family a file."""
