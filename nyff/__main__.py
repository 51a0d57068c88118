"""``python -m nyff`` is the same as ``nyff``."""

from nyff.cli.main import main

if __name__ == "__main__":
    main()
