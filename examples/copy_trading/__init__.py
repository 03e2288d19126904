"""Follows vaults whose followers copy the trades of a leader; see README.md."""
