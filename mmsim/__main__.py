"""``python -m mmsim``: the command, where it is not installed."""

from mmsim.cli import main

if __name__ == "__main__":
    main()
