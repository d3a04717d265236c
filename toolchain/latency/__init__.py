"""What layers cost at any width: blocks, tables, steps."""
