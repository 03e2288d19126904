"""Tests of the worker: against real Redis and real BullMQ, nothing of ours replaced."""
