"""`python -m scorefield` is the command `scorefield`, for whoever has it in an environment that is not on the path."""

from scorefield.cli.main import main

if __name__ == "__main__":
    main()
