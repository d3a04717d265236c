"""Graph rewrites, one a file; see `passes.rules` for the op rules and `passes.criteria` for the scores."""
