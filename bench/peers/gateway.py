"""The gateway as a user runs it; only its limits are raised, by settings in the environment."""

import os

from jobcast.gateway.app import serve
from jobcast.shared.settings import load

serve(load(os.environ))
