"""Wallets of a chain: read, analysed and compared by jobs, each of which can be watched live. See README.md."""
