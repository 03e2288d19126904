"""The job worker: in BullMQ, out the journal."""
