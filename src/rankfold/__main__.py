"""`python -m rankfold`: the command line, as launchers such as torchrun start it."""

import sys

from rankfold.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
