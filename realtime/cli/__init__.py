"""What the commands share: options, inputs, terminal."""
