"""``python -m flambeau``: the ``flambeau`` command."""

from flambeau.cli.main import main

if __name__ == "__main__":
    main()
