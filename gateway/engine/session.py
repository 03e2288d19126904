"""One Engine.IO session: its transport, its heartbeat, its end. See the Engine.IO protocol, revision 4."""

from math import inf
from typing import Any, Final, Protocol

from jobcast.gateway.dialects import PACKET_END, frame, text_frame
from jobcast.gateway.engine import packets
from jobcast.gateway.engine.inbox import Inbox
from jobcast.gateway.engine.limits import Limits
from jobcast.gateway.engine.polling import Polling
from jobcast.gateway.engine.websocket import WebSocketConnection
from jobcast.gateway.engine.wheel import Due, Wheel
from jobcast.gateway.outlet import Outlet
from jobcast.shared import logs

PING_TIMEOUT: Final = "ping timeout"
TRANSPORT_CLOSE: Final = "transport close"
TRANSPORT_ERROR: Final = "transport error"
CLIENT_DISCONNECT: Final = "client disconnect"
SERVER_DISCONNECT: Final = "server disconnect"
CONNECT_TIMEOUT: Final = "connect timeout"
_CODES: Final = {"stopping": 1001, "slow": 1013, "failed": 1011}
_BAD: Final = 1008
log = logs.get("engine")


class Engine(Protocol):
    """What a session asks of its server."""

    limits: Limits

    @property
    def wheel(self) -> Wheel: ...

    def take_at_once(self, session: "Session", data: str | bytes) -> bool: ...

    async def take(self, session: "Session", data: str | bytes) -> None: ...

    def upgraded(self, session: "Session") -> None: ...

    def ended(self, session: "Session", reason: str) -> None: ...


class Session:
    """``outlet`` takes what the client is to be sent, by whatever transport it has now.

    Texts and bytes reach the server one after the other, each when the one before is done.
    """

    __slots__ = (
        "_connect_by",
        "_engine",
        "_ping_at",
        "_pong_by",
        "_websocket",
        "broken",
        "closed",
        "environ",
        "inbox",
        "outlet",
        "polling",
        "probe",
        "sid",
        "slot",
        "values",
    )

    def __init__(self, sid: str, engine: Engine, transport: WebSocketConnection | Polling, now: float) -> None:
        self.sid = sid
        self.closed = False
        self.broken = False
        """It was ended for what the client sent."""
        self.environ: dict[str, Any] = {}
        self.values: dict[str, Any] | None = None
        self.slot: set[Due] | None = None
        self._engine = engine
        self._websocket: WebSocketConnection | None = None
        self.polling: Polling | None = None
        self.probe: Probe | None = None
        if isinstance(transport, Polling):
            self.polling = transport
            self.outlet: Outlet = transport.outlet
            transport.outlet.on_slow = self._too_slow
        else:
            self._websocket = transport
            self.outlet = transport
            transport.receiver = self
        self.inbox: Inbox[str | bytes] = Inbox(self._take, self._failed)
        self._ping_at = now + engine.limits.ping_interval
        self._pong_by = inf
        self._connect_by = now + engine.limits.connect
        engine.wheel.add(self, min(self._ping_at, self._connect_by))

    @property
    def transport(self) -> str:
        return "polling" if self._websocket is None else "websocket"

    def open_packet(self) -> str:
        """The handshake: type 0 and what the client must know."""
        limits = self._engine.limits
        upgrades = '"websocket"' if self._websocket is None else ""
        return (
            f'{packets.OPEN}{{"sid":"{self.sid}","upgrades":[{upgrades}],'
            f'"pingInterval":{limits.ping_interval * 1000:.0f},"pingTimeout":{limits.ping_timeout * 1000:.0f},'
            f'"maxPayload":{limits.message_size}}}'
        )

    def send(self, data: str | bytes) -> None:
        """A message, behind all that is owed already."""
        if isinstance(data, str):
            self.send_packet(packets.MESSAGE + data)
        elif self._websocket is not None:
            self.outlet.push(frame(0x82, bytes(data)))
        else:
            self.outlet.push(Polling.binary(bytes(data)))

    def send_packet(self, packet: str) -> None:
        if not self.closed:
            data = packet.encode()
            self.outlet.push(text_frame(data) if self._websocket is not None else data + PACKET_END)

    def joined(self) -> None:
        """It has sent a Socket.IO CONNECT in time."""
        self._connect_by = inf

    # What the transports bring.

    def text(self, data: str) -> None:
        kind = data[:1]
        if kind == packets.MESSAGE:
            self.message(data[1:])
        elif data == packets.PONG:
            self._pong_by = inf
        elif data == packets.CLOSE:
            if self.polling is not None:
                self.polling.release()
            self.close(CLIENT_DISCONNECT)
        elif data != packets.NOOP:
            # A client's ping too: in this revision of the protocol it is the server that pings.
            self.bad(f"expected a message, a pong or a close, got a packet that begins {data[:8]!r}")

    def binary(self, data: bytes) -> None:
        self.message(data)

    def message(self, data: str | bytes) -> None:
        if not self.closed and not (self.inbox.idle and self._engine.take_at_once(self, data)):
            self.inbox.put(data, self._websocket)

    def bad(self, why: str) -> None:
        """What came is none of the protocol: the connection ends at once."""
        log.info("a client sent what is no packet", reason=why[:200])
        self.broken = True
        self.close(TRANSPORT_ERROR)

    def lost(self, reason: str) -> None:
        """The WebSocket is gone."""
        self.close(reason if reason in _CODES else TRANSPORT_CLOSE)

    # Upgrade.

    def upgrade(self, connection: WebSocketConnection) -> None:
        """Go on by WebSocket: what is still owed goes first, in order."""
        assert self.polling is not None
        polling, self.polling = self.polling, None
        connection.receiver = self
        self._websocket, self.outlet = connection, connection
        for packet in polling.hand_over():
            connection.push(packet)
        self._engine.upgraded(self)

    # Heartbeat.

    def due(self, now: float) -> float | None:
        if self.closed:
            return None
        if now >= self._connect_by:
            log.info("a client did not say CONNECT in time", sid=self.sid[:6])
            websocket = self._websocket
            self.close(CONNECT_TIMEOUT)
            if websocket is not None:
                websocket.drop()
            return None
        if now >= self._pong_by:
            if not self._held_up():
                self.close(PING_TIMEOUT)
                return None
            self._pong_by = now + self._engine.limits.ping_timeout
        if now >= self._ping_at:
            # From when it was due, or each would be late by what those before it were.
            self._ping_at = max(now, self._ping_at + self._engine.limits.ping_interval)
            if not self._held_up():
                # Behind what it does not read a ping would only wait; that it reads nothing is judged elsewhere.
                self.send_packet(packets.PING)
                self._pong_by = min(self._pong_by, now + self._engine.limits.ping_timeout)
        return min(self._ping_at, self._pong_by, self._connect_by)

    def _held_up(self) -> bool:
        return self._websocket is not None and self._websocket.blocked

    # The end.

    def close(self, reason: str) -> None:
        """End it, whoever wanted it; the transport is closed too. Twice is once."""
        if self.closed:
            return
        self.closed = True
        self._engine.wheel.forget(self)
        websocket = self._websocket
        if websocket is not None and websocket.open:
            websocket.receiver = None
            websocket.close(_BAD if self.broken else _CODES.get(reason, 1000), reason)
        if self.polling is not None:
            self.polling.close()
        self._engine.ended(self, reason)
        self.inbox.close()

    async def _take(self, data: str | bytes) -> None:
        await self._engine.take(self, data)

    def _failed(self) -> None:
        self.close(TRANSPORT_ERROR)

    def _too_slow(self) -> None:
        self.close("slow")


class Probe:
    """A WebSocket that a polling session may move to: ``2probe``, ``3probe``, ``5``; anything else ends the attempt."""

    __slots__ = ("_connection", "_probed", "_session", "_wheel", "slot")

    def __init__(self, session: Session, connection: WebSocketConnection, wheel: Wheel, at: float) -> None:
        self.slot: set[Due] | None = None
        self._session = session
        self._connection = connection
        self._wheel = wheel
        self._probed = False
        connection.receiver = self
        session.probe = self
        wheel.add(self, at)

    def text(self, data: str) -> None:
        session = self._session
        if session.polling is None or session.closed:
            self._give_up()
        elif data == packets.PING + "probe":
            self._probed = True
            self._connection.push(text_frame(b"3probe"))
            # The poll that waits is answered, or the client could not leave it.
            session.polling.release()
        elif data == packets.UPGRADE and self._probed:
            self._wheel.forget(self)
            session.probe = None
            session.upgrade(self._connection)
        else:
            self._give_up()

    def binary(self, _data: bytes) -> None:
        self._give_up()

    def lost(self, _reason: str) -> None:
        self._wheel.forget(self)
        self._session.probe = None
        if self._session.polling is not None:
            # The client stays with polling.
            self._session.polling.released = False

    def due(self, _now: float) -> float | None:
        self._connection.close(1008, "no upgrade")
        return None

    def _give_up(self) -> None:
        self._connection.close(1008, "no probe")
