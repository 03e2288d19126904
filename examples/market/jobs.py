"""For ``jobcast worker --module examples.market.jobs``: the registry, with services from the environment."""

from examples.market.registry import registry
from examples.market.services import Services
from jobcast import include

services = Services.from_environment()
services.database.create()
include(registry(services))
