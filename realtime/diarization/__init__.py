"""Who of several people in one channel speaks."""
