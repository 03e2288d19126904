"""The table of malformed input: what is sent, and the documented outcome of each.

- A packet that breaks Engine.IO or Socket.IO closes its whole connection at once: by WebSocket with a close frame,
  by polling with 400, the session gone.
- Only a CONNECT to a namespace that does not exist is answered, ``44<namespace>,{"message":"Invalid namespace"}``, and
  the connection kept. Everything else in a namespace that is not connected, and a second CONNECT to one that is, closes
  (as ``socket.io`` 4 does: ``Client.ondecoded`` closes on an "invalid state").
- A frame that breaks RFC 6455 closes with the code the RFC names for it.
- HTTP errors are 400; 413 for a body too large, 431 for a header too large.
"""

from tests.gateway.engine.rows import Row
from tests.gateway.engine.rows_engine import BODIES, PACKETS
from tests.gateway.engine.rows_frames import FRAMES
from tests.gateway.engine.rows_http import HANDSHAKES, REQUESTS
from tests.gateway.engine.rows_socket import ATTACHMENTS, CONNECTS, EVENTS

ROWS: list[Row] = [*PACKETS, *BODIES, *CONNECTS, *EVENTS, *ATTACHMENTS, *FRAMES, *REQUESTS, *HANDSHAKES]
