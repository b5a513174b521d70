"""THE feature code: what `train extract` stores is what a live run computes."""
