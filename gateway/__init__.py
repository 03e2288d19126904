"""The Socket.IO gateway: in Redis and HTTP, out Socket.IO, WebSocket, SSE and HTTP."""
