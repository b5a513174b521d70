"""The live feature code, one room a modality.

Contract 1, one feature code: a feature is computed by the same code in training and in a call, its `FeatureSpec` names
everything that changes its numbers with a digest of the tensors behind it, and a checkpoint that was trained on other
specs than those at hand is refused in one sentence that names both.
"""
