"""`python -m gdino_lightning`, `gdino` and `lightning` are this one function."""

import sys

from gdino_lightning.cli import main

if __name__ == "__main__":
    sys.exit(main())
