"""``python -m pooler``, and the ``pooler`` command."""

import sys

from pooler.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
