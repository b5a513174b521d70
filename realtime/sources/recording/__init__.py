"""A recording as a source: what its container really holds, which tracks are heard, what a bad header hides."""
