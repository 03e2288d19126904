"""A load balancer without a memory: each connection goes to the next gateway, whoever it is from."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


class Balancer:
    """``taken`` are the ports it went to, one for each connection. One that nobody listens at is passed over."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = itertools.cycle(ports)
        self._number = len(ports)
        self._tasks: set[asyncio.Task[None]] = set()
        self.taken: list[int] = []
        self.url = ""

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        for port in itertools.islice(self._ports, self._number):
            try:
                back, forth = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionError:
                continue
            self.taken.append(port)
            try:
                await asyncio.gather(_pass(reader, forth), _pass(back, writer))
            finally:
                forth.close()
                writer.close()
            return
        writer.close()

    @classmethod
    @contextlib.asynccontextmanager
    async def before(cls, ports: Sequence[int]) -> AsyncIterator["Balancer"]:
        balancer = cls(ports)
        server = await asyncio.start_server(balancer._take, "127.0.0.1", 0)
        balancer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield balancer
        finally:
            server.close()
            for task in list(balancer._tasks):
                task.cancel()
            await asyncio.gather(*balancer._tasks, return_exceptions=True)
            # What was closed is let go of by the loop, a turn later.
            await asyncio.sleep(0.01)
