"""`python -m realtime.journal`."""

from realtime.journal.session_list import main

if __name__ == "__main__":
    raise SystemExit(main())
