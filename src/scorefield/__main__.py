"""`python -m scorefield`, where the command is not on the path."""

from scorefield.cli.main import main

if __name__ == "__main__":
    main()
