"""``python -m cwac`` is the command line."""

from cwac.cli import main

if __name__ == "__main__":
    main()
