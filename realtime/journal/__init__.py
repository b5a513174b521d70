"""The journal on disk: an append-only event log for each session; `python -m realtime.journal`.

Nothing leaves the machine (contract 8): no sound or picture is written, and the journal, which holds words, is readable
by its owner only (0600), has a retention time and a delete command.

What the journal promises: an event is written before it is sent to any client, so a crash of the program loses nothing
that somebody has seen; what was written is forced to the disk once a second, so a power failure loses that second and
the session then begins a new epoch; a full or read-only disk is announced on the feed and ends nothing; a record
that was damaged on the disk is named and costs no other (`python -m realtime.journal verify`).
"""
