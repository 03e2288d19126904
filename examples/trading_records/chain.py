"""Stands in for the chain that knows balances: made up from the wallet and the hour, the same each time."""

import random
from typing import Final

HOUR_MS: Final = 3_600_000
TOKENS: Final = ("SOL", "USDC", "BONK")


def balances(wallet: str, at: int) -> dict[str, str]:
    """Amounts by token at this Unix ms; a wallet whose name begins with ``lost`` is not on the chain.

    Raises:
        LookupError: there is no such wallet.
    """
    if wallet.startswith("lost"):
        raise LookupError(f"expected a wallet of the chain, got {wallet}")
    chance = random.Random(f"{wallet}/{at // HOUR_MS}")
    return {token: f"{chance.randint(0, 10**6)}.{chance.randint(0, 10**9 - 1):09}" for token in TOKENS}
