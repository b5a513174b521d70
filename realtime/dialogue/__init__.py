"""From features to judgements: one step of the dialogue model, shifts, provisional results. No I/O."""
