"""The exact choice of widths: an integer programme, what it costs each group, and how it is filled in."""
