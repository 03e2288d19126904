"""``python -m jobcast.cli``: the command, for where its script is not on PATH."""

import os
import sys

# -m puts the working directory first: a redis.py there would stand in for the library, as it cannot for the script.
# The worker looks for users' modules there last of all.
if not sys.flags.safe_path and sys.path[0] == os.getcwd():  # noqa: PTH109  pathlib may be a file there
    del sys.path[0]

from jobcast.cli.main import main

sys.exit(main())
