"""The wire, version 1: events, control messages, commands, their schema, and the state that they fold into. No I/O."""
