"""Where the time of a network goes, and the stairs of its layers."""
