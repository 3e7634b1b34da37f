"""``python -m mail6m.cli``: the same without an installed script."""

from mail6m.cli import main

if __name__ == "__main__":
    main()
