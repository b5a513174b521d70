"""Sound and pictures of an utterance, out of recordings of any kind."""
