"""Pictures of an evaluation and of a run: confusion, t-SNE, attention, loss curves."""
