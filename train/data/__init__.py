"""The data module of dialogue models: layout, tensors, pairing, sampling, batching, class balance."""
