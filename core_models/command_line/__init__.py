"""How every command begins, reads its options, reports errors and ends."""
