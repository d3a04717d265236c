"""How channel labels travel through an op family, one family a file."""
