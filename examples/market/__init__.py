"""The back end of a prediction market: resolves markets, delivers webhooks, checks backups and books. See README.md."""
