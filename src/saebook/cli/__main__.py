"""`python -m saebook.cli`, the same as the command `saebook`."""

import sys

from saebook.cli.command_line import main

if __name__ == "__main__":
    sys.exit(main())
