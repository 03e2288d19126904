"""A job that does many things, of which some may fail: counted, told, and judged by how many must succeed.

    batch = Batch(ctx, requested=len(wallets), threshold=0.8)
    for wallet in wallets:
        async with batch.item(wallet):
            await analyse(wallet)
    return batch.result()

A parent in a flow judges its children the same way: ``Batch.of(await ctx.children(), threshold=0.8).result()``.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from jobcast.shared.errors import BadRequest
from jobcast.worker.context import Context, SyncContext
from jobcast.worker.errors import Unrecoverable
from jobcast.worker.family import Children
from jobcast.worker.values import cut, error_text

THRESHOLD: Final = 0.8
MOST_FAILURES: Final = 100
"""Failures that a result lists; all of them are counted."""
LONGEST_FAILURE: Final = 300


class TooManyFailed(Unrecoverable):
    """Fewer succeeded than must; ``result`` is what the job would have ended with."""

    code = "too-many-failed"

    def __init__(self, result: dict[str, Any], threshold: float) -> None:
        super().__init__(
            f"{result['failed']} of {result['requested']} failed, {result['processed']} succeeded; "
            f"at least {threshold:.0%} must succeed"
        )
        self.result = result


class Batch:
    """Counts what succeeded and what failed, and tells progress after each.

    ``threshold``: the share (0-1) of ``requested`` that must succeed. ``early``: give up as soon as it cannot be
    reached any more, and not at the end.

    Raises:
        BadRequest: a threshold or a number of things that is none.
    """

    def __init__(
        self,
        ctx: Context | SyncContext | None,
        *,
        requested: int,
        threshold: float = THRESHOLD,
        early: bool = False,
    ) -> None:
        if not 0 <= threshold <= 1:
            raise BadRequest(f"expected threshold from 0 to 1, got {threshold}")
        if requested < 0:
            raise BadRequest(f"expected requested from 0, got {requested}")
        self.requested = requested
        self.processed = 0
        self.failures: dict[str, str] = {}
        self.failed = 0
        self._ctx = ctx
        self._threshold = threshold
        self._early = early

    @classmethod
    def of(cls, children: Children, *, threshold: float = THRESHOLD) -> "Batch":
        """The children of a parent, each of which may fail (``ignoreDependencyOnFailure``)."""
        batch = cls(None, requested=len(children.results) + len(children.failures), threshold=threshold)
        batch.processed = len(children.results)
        for job_id, error in children.failures.items():
            batch.fail(job_id, error)
        return batch

    @asynccontextmanager
    async def item(self, name: object) -> AsyncIterator[None]:
        """One thing to be done, in an ``async def`` handler: an exception is counted and goes no further.

        Raises:
            TooManyFailed: with ``early``, the threshold cannot be reached any more.
        """
        assert isinstance(self._ctx, Context), "a plain function uses sync_item"
        with self._judged(name):
            yield
        await self._ctx.progress(self.percent)

    @contextmanager
    def sync_item(self, name: object) -> Iterator[None]:
        """:meth:`item` for a plain function."""
        assert isinstance(self._ctx, SyncContext), "an async def uses item"
        with self._judged(name):
            yield
        self._ctx.progress(self.percent)

    @contextmanager
    def _judged(self, name: object) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001  whatever one of them does, the next is done
            self.fail(name, error_text(error))
        else:
            self.processed += 1
        if self._early and not self.can_succeed:
            raise TooManyFailed(self._told(), self._threshold)

    def fail(self, name: object, error: str) -> None:
        """Count one that failed outside of :meth:`item`."""
        self.failed += 1
        if len(self.failures) < MOST_FAILURES:
            self.failures[str(name)] = cut(error, LONGEST_FAILURE)

    @property
    def percent(self) -> float:
        return 100 * (self.processed + self.failed) / self.requested if self.requested else 100

    @property
    def can_succeed(self) -> bool:
        """Whether the threshold is reached if all that are left succeed."""
        return self.requested - self.failed >= self._threshold * self.requested - 1e-9

    def result(self) -> dict[str, Any]:
        """``{requested, processed, failed, rate, failures}``; ``rate`` is the share that succeeded.

        Raises:
            TooManyFailed: fewer succeeded than must; those that were not done did not.
        """
        result = self._told()
        if self.processed < self._threshold * self.requested - 1e-9:
            raise TooManyFailed(result, self._threshold)
        return result

    def _told(self) -> dict[str, Any]:
        return {
            "requested": self.requested,
            "processed": self.processed,
            "failed": self.failed,
            "rate": round(self.processed / self.requested, 4) if self.requested else 1.0,
            "failures": dict(self.failures),
        }
