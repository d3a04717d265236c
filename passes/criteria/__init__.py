"""What the removal of a unit costs, one criterion a file."""
