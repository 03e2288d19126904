"""``python -m jobcast.cli``: the command, for where its script is not on PATH."""

import sys

from jobcast.cli.main import main

sys.exit(main())
