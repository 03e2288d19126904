"""What the database holds of each vault and its followers: ``python -m examples.copy_trading.report``."""

from collections.abc import Iterator
from decimal import Decimal

from examples.copy_trading import database
from examples.copy_trading.sample import COIN

_VAULTS = """
    SELECT address, name, status, value, roi, drawdown,
        (SELECT count(*) FROM copy_trades WHERE vault = address) FROM copy_vaults ORDER BY name
"""
_FOLLOWERS = "SELECT follower, amount FROM copy_subscriptions WHERE vault = ? ORDER BY follower"


def lines() -> Iterator[str]:
    """A line for each vault, and one below it for each follower; amounts in whole coins, rounded down."""
    with database.connect() as db:
        for address, name, status, value, roi, drawdown, trades in db.execute(_VAULTS).fetchall():
            said = f"value {int(value) // COIN}, return {Decimal(roi):.2%}, drawdown {Decimal(drawdown):.2%}"
            yield f"{name} {address}: {status}, {trades} trades, {said}"
            for follower, amount in db.execute(_FOLLOWERS, (address,)):
                yield f"    {follower} put in {int(amount) // COIN}"


if __name__ == "__main__":
    database.create()
    print("\n".join(lines()))
