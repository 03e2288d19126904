"""Long tests, started by hand: ``python -m tests.soak.<scenario>``; a small version of each is among the tests."""
