"""How each system reads a recording device: one protocol, one file for each library."""
