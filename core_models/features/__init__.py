"""The live feature code, one room a modality: what `train extract` stores is what a live run computes (contract 1)."""
