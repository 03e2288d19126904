"""Real processes, real clients, from submit to the last event."""
