"""From features to judgements: one step of the dialogue model, shifts, provisional results. No I/O.

Contract 5: speakers are slots, numbered by first appearance in the dialogue, and names never enter the model.
"""
