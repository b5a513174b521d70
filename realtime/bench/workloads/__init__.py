"""What the benchmarks run on: sound that is played, light clients, a synthetic session, Chromium."""
