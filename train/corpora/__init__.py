"""Corpora on disk, in the layouts in which their owners have them."""
