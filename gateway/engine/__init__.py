"""Engine.IO v4 under python-socketio: our own lifecycle of connections, and the hot path."""
