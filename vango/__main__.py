"""`python -m vango` is `vango`."""

import sys

from vango.cli import main

if __name__ == "__main__":
    sys.exit(main())
