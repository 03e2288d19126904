"""A client whose script calls share one connection: those of one turn of the event loop go out in one write.

redis-py takes a connection from its pool for each call, writes, waits under two time-outs and reads: some 200 us of
Python for a script that takes Redis 50, and a write and a read of Redis' own for each. A worker calls little but
scripts, and many at once. Here they are written together and answered in order; everything else, pipelines included,
goes redis-py's own way, and so does the making of the connection (TLS, unix sockets, authentication, database).

What may be sent twice: a call whose answer was lost is sent again, as redis-py does with the same settings.
"""

import asyncio
import copy
from collections import deque
from typing import Any, Final

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.commands.core import AsyncScript
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

MOST_UNANSWERED: Final = 1024
"""Calls under way at once; the next one waits until there is room."""
LOOKS: Final = 4
"""How often within the read time-out the line is looked at. Counted, not timed: a process that stood still (a suspended
machine, a debugger) must not take for dead a Redis that has answered meanwhile."""
SLICE: Final = 16 * 1024
"""Bytes fed to the parser at once: it moves all that it still holds each time it has read a kibibyte of it."""
_MORE: Final = object()


class Joined(Redis):
    """See the module: the scripts it registers are called over one line. Closing it ends what is under way with a
    ``ConnectionError``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._calls = _Calls(self.connection_pool)

    def register_script(self, script: Any) -> "_Script":  # type: ignore[override]
        return _Script(self, script, self._calls)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await self._calls.close()
        await super().aclose(close_connection_pool)


class _Script(AsyncScript):
    def __init__(self, client: Joined, script: Any, calls: "_Calls") -> None:
        super().__init__(client, script)
        self._calls = calls

    async def __call__(self, keys: Any = None, args: Any = None, client: Any = None) -> Any:
        if client is not None:  # a pipeline
            return await super().__call__(keys, args, client)
        keys = keys or ()
        command = ("EVALSHA", self.sha, len(keys), *keys, *(args or ()))
        try:
            return await self._calls.call(command)
        except NoScriptError:
            await self.registered_client.script_load(self.script)
            return await self._calls.call(command)


class _Calls:
    """Calls over one line, which is opened at the first and again after each loss."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._retry = copy.deepcopy(pool.connection_kwargs["retry"])
        self._retry.update_supported_errors(pool.connection_kwargs["retry_on_error"])
        self._retry.update_retries(max(0, self._retry.get_retries() - 1))
        self._line: _Line | None = None
        self._opening: asyncio.Task[_Line] | None = None
        self._closed = False

    async def call(self, command: tuple[Any, ...]) -> Any:
        line = self._line
        if line is not None and line.lost is None:
            try:
                return await self._ask(line, command)
            except (RedisConnectionError, RedisTimeoutError):
                pass  # the first of the tries, without what it costs to count them
        return await self._retry.call_with_retry(lambda: self._once(command), _pass)

    async def _once(self, command: tuple[Any, ...]) -> Any:
        line = self._line
        if line is None or line.lost is not None:
            line = await self._opened()
        return await self._ask(line, command)

    async def _ask(self, line: "_Line", command: tuple[Any, ...]) -> Any:
        while line.full:
            # Shielded: all who wait share it, and one who is cancelled must not take the others along.
            await asyncio.shield(line.room())
        answer = await line.ask(command)
        if isinstance(answer, RedisError):
            raise answer
        return answer

    async def _opened(self) -> "_Line":
        """One connection for all who wait for it: each on its own would wait out the time-outs of those before it."""
        if self._closed:
            raise RedisConnectionError("the client was closed")
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(), name="connect to Redis")
            self._opening.add_done_callback(self._was_opened)
        try:
            return await asyncio.shield(opening := self._opening)
        except asyncio.CancelledError:
            if opening.cancelled():  # by close(); whoever waits was not
                raise RedisConnectionError("the client was closed") from None
            raise

    async def _open(self) -> "_Line":
        await self._drop()
        connection = self._pool.connection_class(**self._pool.connection_kwargs)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            self._line = take_over(connection)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return self._line

    def _was_opened(self, task: "asyncio.Task[_Line]") -> None:
        self._opening = None
        if not task.cancelled():
            task.exception()  # looked at: whoever asked for it may have been cancelled

    async def _drop(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.lose(RedisConnectionError("the connection was closed"))
            await line.connection.disconnect(nowait=True)

    async def close(self) -> None:
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        await self._drop()


class _Line(asyncio.Protocol):
    """One connection; ``lost`` says why it is of no more use."""

    def __init__(self, connection: AbstractConnection, transport: asyncio.WriteTransport) -> None:
        self.connection = connection
        self.lost: Exception | None = None
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._parser = _parser(connection)
        self._unanswered: deque[asyncio.Future[Any]] = deque()
        self._unsent: list[bytes] = []
        self._room: asyncio.Future[None] | None = None
        self._pause = (connection.socket_timeout or 0) / LOOKS
        self._looking = False
        self._heard = False
        self._silent = 0

    @property
    def full(self) -> bool:
        return len(self._unanswered) >= MOST_UNANSWERED

    def room(self) -> "asyncio.Future[None]":
        """Done when there may be room, or no line any more."""
        if self._room is None:
            self._room = self._loop.create_future()
        return self._room

    def _make_room(self) -> None:
        if self._room is not None:
            self._room.set_result(None)
            self._room = None

    def ask(self, command: tuple[Any, ...]) -> "asyncio.Future[Any]":
        """The answer, an error of Redis' included; the future raises when the line is lost before."""
        if self.lost is not None:
            raise type(self.lost)(str(self.lost))
        answer: asyncio.Future[Any] = self._loop.create_future()
        packed = hiredis.pack_command(command)
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(packed)
        self._unanswered.append(answer)
        if self._pause and not self._looking:
            self._looking, self._heard, self._silent = True, False, 0
            self._loop.call_later(self._pause, self._look)
        return answer

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, []
        if self.lost is None:
            self._transport.write(b"".join(unsent))

    def _look(self) -> None:
        self._looking = bool(self._unanswered) and self.lost is None
        if not self._looking:
            return
        self._silent = 0 if self._heard else self._silent + 1
        self._heard = False
        if self._silent >= LOOKS:
            self.lose(RedisTimeoutError("Redis did not answer in time"))
        else:
            self._loop.call_later(self._pause, self._look)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        try:
            for start in range(0, len(data), SLICE):
                self._parser.feed(data, start, min(SLICE, len(data) - start))
                while self._take_reply():
                    pass
            self._make_room()
        except (hiredis.HiredisError, IndexError) as error:
            self.lose(RedisConnectionError(f"Redis said what nobody had asked for, or what is no reply: {error}"))

    def _take_reply(self) -> bool:
        """Give the next whole reply to who asked for it; False when there is none yet."""
        reply, fault = None, None
        try:
            reply = self._parser.gets()
        except UnicodeError as error:  # bytes somebody wrote by hand, say: the trouble of this call alone
            fault = error
        if reply is _MORE:
            return False
        answer = self._unanswered.popleft()
        if answer.done():
            pass
        elif fault is not None:
            answer.set_exception(fault)
        else:
            answer.set_result(reply)
        return True

    def eof_received(self) -> None:
        self.lose(RedisConnectionError("Redis closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.lose(RedisConnectionError(f"the connection broke: {exc}"))

    def lose(self, error: Exception) -> None:
        """End it; whoever waits for an answer learns why there will be none."""
        if self.lost is not None:
            return
        self.lost = error
        self._transport.abort()
        while self._unanswered:
            answer = self._unanswered.popleft()
            if not answer.done():
                answer.set_exception(type(error)(str(error)))
        self._make_room()


def take_over(connection: AbstractConnection) -> _Line:
    """Read and write a connection of redis-py ourselves from here on."""
    writer = connection._writer  # noqa: SLF001  it lends its transport no other way
    assert writer is not None, "it is connected"
    line = _Line(connection, writer.transport)
    writer.transport.set_protocol(line)
    if writer.transport.is_closing():
        line.connection_lost(None)
    return line


def _parser(connection: AbstractConnection) -> hiredis.Reader:
    encoder = connection.encoder
    text = {"encoding": encoder.encoding, "errors": encoder.encoding_errors} if encoder.decode_responses else {}
    # Its classes of errors are what redis-py's callers know: NoScriptError loads the script, OutOfMemoryError is told.
    return hiredis.Reader(notEnoughData=_MORE, replyError=connection._parser.parse_error, **text)  # noqa: SLF001


async def _pass(_: Exception) -> None:
    """What a loss needs is done where the next call opens the line anew."""
