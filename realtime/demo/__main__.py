"""`python -m realtime.demo`."""

from realtime.demo.assemble import main

if __name__ == "__main__":
    raise SystemExit(main())
