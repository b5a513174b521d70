"""How every command begins, reads its options, tells what is wrong and ends."""
