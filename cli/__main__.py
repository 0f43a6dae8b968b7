"""`python -m cli` is `assetq`."""

from cli.main import main

if __name__ == "__main__":
    main()
