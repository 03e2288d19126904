"""The fault proxy breaks links in the ways it says, and in no other."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import pytest

from tests.soak.proxy import Proxy, proxy
from tests.support.waiting import free_port, wait_until

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def echo() -> AsyncIterator[int]:
    """A server that says everything again; its port."""
    port = free_port()
    server = await asyncio.start_server(_echo, "127.0.0.1", port)
    try:
        yield port
    finally:
        server.close()


@contextlib.asynccontextmanager
async def broken_echo() -> AsyncIterator[Proxy]:
    async with echo() as target, proxy([target], free_port(), random.Random(1)) as found:
        yield found


@contextlib.asynccontextmanager
async def dialled(found: Proxy) -> AsyncIterator[Ends]:
    reader, writer = await asyncio.open_connection("127.0.0.1", found.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def says(ends: Ends, text: bytes) -> bytes:
    """What comes back of it within five seconds."""
    ends[1].write(text)
    async with asyncio.timeout(5):
        return await ends[0].readexactly(len(text))


async def is_silent(ends: Ends) -> bool:
    """Nothing comes back, no end and no error either."""
    ends[1].write(b"anybody?")
    try:
        async with asyncio.timeout(0.3):
            await ends[0].read(1)
    except TimeoutError:
        return True
    return False


async def test_what_is_said_arrives_whole_in_both_directions_and_so_does_the_end() -> None:
    async with broken_echo() as found, dialled(found) as ends:
        text = random.Random(2).randbytes(300_000)
        asyncio.get_running_loop().call_soon(ends[1].write, text)
        assert await ends[0].readexactly(len(text)) == text
        ends[1].write_eof()
        assert await ends[0].read() == b""


async def test_slices_change_the_pieces_and_not_the_bytes() -> None:
    async with broken_echo() as found:
        found.slices = 3
        async with dialled(found) as ends:
            assert await says(ends, b"cut into pieces") == b"cut into pieces"
        assert list(found._sliced(b"abcdefgh")) == [b"abc", b"def", b"gh"]


async def test_latency_delays_each_way() -> None:
    async with broken_echo() as found:
        found.latency = 0.1
        async with dialled(found) as ends:
            start = asyncio.get_running_loop().time()
            await says(ends, b"late")
            assert asyncio.get_running_loop().time() - start >= 0.2


async def test_a_reset_link_ends_with_an_error_and_a_new_one_serves() -> None:
    async with broken_echo() as found, dialled(found) as ends:
        await says(ends, b"here")
        found.reset()
        with pytest.raises(ConnectionResetError):
            await ends[0].read(1)
        async with dialled(found) as again:
            assert await says(again, b"here again") == b"here again"


async def test_links_in_a_black_hole_stay_open_and_silent_and_only_new_ones_heal() -> None:
    async with broken_echo() as found, dialled(found) as before:
        await says(before, b"here")
        found.blackhole()
        async with dialled(found) as during:
            assert await is_silent(before)
            assert await is_silent(during)
            found.heal()
            async with dialled(found) as after:
                assert await says(after, b"here") == b"here"
            assert await is_silent(before)
            assert await is_silent(during)


async def test_each_link_is_reset_at_the_end_of_its_life_until_it_is_calm() -> None:
    async with broken_echo() as found:
        found.lifetime = (0.05, 0.1)
        async with dialled(found) as ends:
            await says(ends, b"here")
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(ends[0].read(1), 5)
        async with dialled(found) as ends:
            await says(ends, b"here")
            found.calm()
            assert await is_silent(ends) is False, "it echoes"
            await asyncio.sleep(0.2)
            assert found.resets == 1


async def test_the_next_target_is_taken_where_the_first_is_not_there() -> None:
    async with echo() as target, proxy([free_port(), target], free_port(), random.Random(1)) as found:
        async with dialled(found) as ends:
            assert await says(ends, b"by the other") == b"by the other"
        await wait_until(lambda: not found.links, 5, "no link left")


async def test_nobody_there_is_the_end_of_the_connection() -> None:
    async with proxy([free_port()], free_port(), random.Random(1)) as found, dialled(found) as ends:
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(ends[0].read(1), 5) == b""
