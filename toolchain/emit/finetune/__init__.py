"""The fine-tune script, what it is told of the network, and how it is run."""
