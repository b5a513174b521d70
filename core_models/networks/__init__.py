"""The networks, each file a paper or a part: tensors in, tensors out. They read no file and know no corpus."""
