"""The market's jobs in a worker that dies of kill -9 when it has resolved a market and told nobody yet."""

import os
import signal
from dataclasses import replace

from examples.market.database import Database, Resolution
from examples.market.registry import registry
from examples.market.services import Services
from jobcast import include


class MortalDatabase(Database):
    def resolve(self, market_id: str, now: int) -> Resolution | None:
        super().resolve(market_id, now)
        os.kill(os.getpid(), signal.SIGKILL)
        return None


services = Services.from_environment()
include(registry(replace(services, database=MortalDatabase(services.database.path))))
