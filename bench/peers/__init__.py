"""The servers under measurement; each speaks the same protocol to the clients."""
