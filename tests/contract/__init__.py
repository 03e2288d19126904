"""One suite for every journal: what the protocol promises, whatever the record is kept in."""
