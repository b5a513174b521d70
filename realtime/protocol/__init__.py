"""The wire, version 1: events, control messages, commands, their schema, and the state that they fold into. No I/O.

What the wire promises:

- `seq` rises by exactly one within an `epoch`, and no number is used twice: what a client has seen it can name.
- Within version 1 fields and types may be added and nothing else changes; a client ignores what it does not know.
- Times are integer milliseconds of media time; the only wall-clock stamp is that of `session.created`.
- Every distribution sums to 1 as it is printed, and `confidence` is that of `emotion`.
- A person's words about the session (names, opt-outs, corrections, marks) are events like the model's own.

README.md in this folder lists every message, field and close code.
"""
