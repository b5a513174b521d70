"""`python -m realtime.bench`."""

from realtime.bench.suite import main

if __name__ == "__main__":
    raise SystemExit(main())
