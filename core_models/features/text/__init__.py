"""An utterance's words to a sentence embedding or to token states."""
