"""How an op family is said in PyTorch, one family a file."""
