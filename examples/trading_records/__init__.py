"""Writes what a trading program did into a database, after the program has gone on. See README.md."""
