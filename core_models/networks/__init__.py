"""The networks: tensors in, tensors out; nothing here reads a file.

Contract 2, streaming equals batch: `step` fed utterance by utterance gives the logits that `forward` gives on the whole
dialogue, no gradient flows from a prediction to a later utterance, and a past prediction never changes.

Contract 3, flat cost: attention reaches back a window of utterances that the checkpoint records and training has seen,
so a step costs the same at the tenth utterance and at the five-thousandth, and positions still mean something there.

Contract 4, any modality may be missing at any utterance, in training and in a call: what is missing is masked, never
zeros that look like data.

Contract 5, speakers are slots, numbered by first appearance and permuted in training: names never enter a model.
"""
