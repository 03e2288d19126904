"""The durable record of what happened to a job: the contract, the one in Redis, and a twin in memory."""

from jobcast.shared.journal.contract import Appended, Changes, Entry, IndexPage, Journal, Life, Reading, Writer
from jobcast.shared.journal.memory import MemoryJournal
from jobcast.shared.journal.redis import RedisJournal

__all__ = [
    "Appended",
    "Changes",
    "Entry",
    "IndexPage",
    "Journal",
    "Life",
    "MemoryJournal",
    "Reading",
    "RedisJournal",
    "Writer",
]
