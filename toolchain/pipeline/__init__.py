"""Passes in order, watched by observers: what runs, what is seen after it, and what is kept."""
