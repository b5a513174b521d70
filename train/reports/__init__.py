"""Results for people: tables, model cards, the figures that ship with a checkpoint."""
