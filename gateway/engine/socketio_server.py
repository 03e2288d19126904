"""python-socketio's server on our engine, with the strictness of the reference server where it has gaps.

A packet that is none, or that no connected client may send, ends its connection at once; python-socketio raises in a
place where nobody hears it, and keeps a client of no state. See the Socket.IO protocol, revision 5.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson
import socketio
from socketio import packet as types

from jobcast.gateway.engine.limits import Limits
from jobcast.gateway.engine.server import BadMessage, EngineServer, finish
from jobcast.gateway.engine.session import Session

RESERVED: Final = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)
"""Names an event of a client may not have: the reference server and its clients use them for themselves."""
LONGEST_ID: Final = 15
_CONNECT: Final = str(types.CONNECT)
_FROM_CLIENTS: Final = frozenset("012356")
_HEAD: Final = re.compile(r"[0-6](?:[0-9]{1,9}-)?(?:/[^,]*,?)?[0-9]*")
"""Type, attachments, namespace and id; python-socketio reads them with ``isdigit``, which knows all scripts' digits."""


class Json:
    """orjson in the shape python-socketio wants: text out, and its own errors as ``ValueError``."""

    @staticmethod
    def dumps(value: Any, **_: Any) -> str:
        return orjson.dumps(value).decode()

    @staticmethod
    def loads(text: str | bytes, **_: Any) -> Any:
        return orjson.loads(text)


class SocketIoServer(socketio.AsyncServer):  # type: ignore[misc]  # it has no types
    """As ``socketio.AsyncServer``; one event of a connection is handled at a time, in order.

    ``at_once`` promises that no connect handler waits for anything (``emit`` does): then a CONNECT needs no task.
    """

    def __init__(self, *, namespaces: list[str], limits: Limits, at_once: bool = False, **options: Any) -> None:
        super().__init__(namespaces=namespaces, json=Json, async_handlers=False, limits=limits, **options)
        self._attachments = limits.attachments
        self._message_size = limits.message_size
        self.eio.on("message", self.take)
        if at_once:
            self.eio.at_once = self.take_connect

    def session(self, sid: str, namespace: str) -> Session:
        """The Engine.IO session of a namespace's client, also while it is being connected or disconnected."""
        found: Session = self.eio.sessions[self.manager.eio_sid_from_sid(sid, namespace)]
        return found

    def _engineio_server_class(self) -> type[EngineServer]:
        return EngineServer

    async def joined(self, sid: str, namespace: str, /) -> None:
        """A namespace is connected, and the client has been told."""

    def take_connect(self, eio_sid: str, data: str | bytes) -> bool:
        """A CONNECT, which waits for nothing; False when it is something else.

        Raises:
            BadMessage: as :meth:`take`.
        """
        if data[:1] != _CONNECT or eio_sid in self._binary_packet:
            return False
        if data == _CONNECT:
            finish(self._connect(eio_sid, "/", None))
        else:
            packet = self._read(data)
            finish(self._connect(eio_sid, packet.namespace or "/", packet.data))
        return True

    async def take(self, eio_sid: str, data: str | bytes) -> None:
        """One message.

        Raises:
            BadMessage: no packet of the protocol, or not one this client may send now.
        """
        if (waiting := self._binary_packet.get(eio_sid)) is not None:
            await self._attach(eio_sid, waiting, data)
            return
        packet = self._read(data)
        if packet.packet_type == types.CONNECT:
            await self._connect(eio_sid, packet.namespace or "/", packet.data)
            return
        namespace = packet.namespace or "/"
        if not self.manager.is_connected(self.manager.sid_from_eio_sid(eio_sid, namespace), namespace):
            raise BadMessage("expected a CONNECT to the namespace first")
        if packet.attachment_count:
            self._binary_packet[eio_sid] = packet
        else:
            await self._dispatch(eio_sid, packet)

    async def _attach(self, eio_sid: str, waiting: Any, data: str | bytes) -> None:
        if isinstance(data, str):
            raise BadMessage(f"expected an attachment, {len(waiting.attachments)} of {waiting.attachment_count} came")
        if sum(map(len, waiting.attachments)) + len(data) > self._message_size:
            # They wait here until all have come; ten whole messages each would be the limit ten times over.
            raise BadMessage(f"expected attachments of at most {self._message_size} bytes together")
        try:
            whole = waiting.add_attachment(data)
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise BadMessage(f"the attachments do not fit the packet: {error}") from error
        if whole:
            del self._binary_packet[eio_sid]
            await self._dispatch(eio_sid, waiting)

    async def _connect(self, eio_sid: str, namespace: str, data: Any) -> None:
        if namespace not in self.namespaces:
            refusal = {"message": "Invalid namespace"}
            packet = self.packet_class(types.CONNECT_ERROR, data=refusal, namespace=namespace)
            await self._send_packet(eio_sid, packet)
            return
        if self.manager.sid_from_eio_sid(eio_sid, namespace) is not None:
            raise BadMessage("the namespace is connected already")
        await self._handle_connect(eio_sid, namespace, data)
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
        if sid is not None and self.manager.is_connected(sid, namespace):
            self.eio.sessions[eio_sid].joined()
            await self.joined(sid, namespace)

    async def _dispatch(self, eio_sid: str, packet: Any) -> None:
        kind = packet.packet_type
        if kind == types.DISCONNECT:
            await self._handle_disconnect(eio_sid, packet.namespace, self.reason.CLIENT_DISCONNECT)
        elif kind in {types.EVENT, types.BINARY_EVENT}:
            await self._handle_event(eio_sid, packet.namespace, packet.id, packet.data)
        else:
            await self._handle_ack(eio_sid, packet.namespace, packet.id, packet.data)

    def _read(self, data: str | bytes) -> Any:
        if not isinstance(data, str):
            raise BadMessage("expected text: no attachment was announced")
        if data[:1] not in _FROM_CLIENTS:
            raise BadMessage(f"expected a packet type a client may send, got {data[:8]!r}")
        if data[_HEAD.match(data).end() :][:1].isdigit():  # type: ignore[union-attr]  # it matches the type at least
            raise BadMessage("expected numbers in ASCII digits")
        try:
            packet = self.packet_class(encoded_packet=data)
            problem = "expected no null" if packet.data is None and data.endswith("null") else None
            # It goes as deep as the payload does, and the parser goes deeper than Python.
            problem = problem or _problem(packet, self._attachments)
        except (ValueError, RecursionError) as error:
            raise BadMessage(f"this is no packet: {str(error)[:100]}") from error
        if problem is not None:
            raise BadMessage(problem)
        return packet


def _problem(packet: Any, most_attachments: int) -> str | None:
    """What is wrong with a packet's parts; None when they fit its type."""
    if packet.attachment_count > most_attachments:
        return f"expected at most {most_attachments} attachments, {packet.attachment_count} are announced"
    if bool(packet.attachment_count) != (packet.packet_type in {types.BINARY_EVENT, types.BINARY_ACK}):
        return "attachments and the packet's type do not fit"
    if packet.id is not None and packet.id >= 10**LONGEST_ID:
        return f"expected an id of at most {LONGEST_ID} digits"
    if packet.attachment_count and any(
        not 0 <= number < packet.attachment_count for number in _placeholders(packet.data)
    ):
        return "a placeholder names no attachment"
    expected, fits = _PAYLOADS[packet.packet_type]
    return None if fits(packet.id, packet.data) else f"expected {expected}"


def _placeholders(data: Any) -> Iterator[int]:
    """The numbers of the placeholders in a payload; -1 for one without a number."""
    if isinstance(data, dict):
        if data.get("_placeholder"):
            number = data.get("num")
            yield number if type(number) is int else -1
        data = list(data.values())
    if isinstance(data, list):
        for each in data:
            yield from _placeholders(each)


def _names_event(_id: object, data: object) -> bool:
    return isinstance(data, list) and bool(data) and isinstance(data[0], str) and data[0] not in RESERVED


def _answers(packet_id: object, data: object) -> bool:
    return packet_id is not None and isinstance(data, list)


_PAYLOADS: Final[dict[int, tuple[str, Callable[[object, object], bool]]]] = {
    types.CONNECT: ("an object, or nothing, with CONNECT", lambda _, data: data is None or isinstance(data, dict)),
    types.DISCONNECT: ("nothing with DISCONNECT", lambda _, data: data is None),
    types.EVENT: ("an array that begins with the name of an event", _names_event),
    types.BINARY_EVENT: ("an array that begins with the name of an event", _names_event),
    types.ACK: ("an id and an array with ACK", _answers),
    types.BINARY_ACK: ("an id and an array with ACK", _answers),
}
