"""An utterance's voice feature, from the encoder states that its transcript is decoded from."""
