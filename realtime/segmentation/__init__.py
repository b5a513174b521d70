"""Sound in, utterances out: voice activity, endpointing, end of turn, crosstalk. No I/O."""
