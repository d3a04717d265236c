"""Search strategies, one a file: each chooses the plan for a budget. `contract.py` holds what they share."""
