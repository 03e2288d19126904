"""What is no event of the journal, as it may be published by whoever has a way to Redis."""

from typing import Final

_HEAD: Final = b'["job-progress",{"seq":1,"epoch":"e","jobId":"%b","queue":"demo","attempt":1,"timestamp":1,"progress":'


def rubbish(job_id: str) -> dict[str, bytes]:
    """By name; those with the head of an event of this job are as near to one as they can be."""
    head = _HEAD % job_id.encode()
    return {
        "nothing": b"",
        "a word": b"rubbish",
        "null": b"null",
        "an event without a place": b'["job-progress",{"jobId":"%b","progress":5}]' % job_id.encode(),
        "an event cut short": head,
        "an event of two lines": head + b'1,"details":"a\nb"}]',
        "another program's object": b'{"type":"progress","value":5}',
        "not UTF-8": b"\xff\xfe\xfd",
        "not UTF-8 within an event": head + b'1,"details":"\xff"}]',
        "NaN": b"NaN",
        "NaN in an event without a place": b'["job-progress",{"jobId":"%b","progress":NaN}]' % job_id.encode(),
        "nesting of 100,000": b"[" * 10**5 + b"]" * 10**5,
        "nesting of 100,000 within an event": head + b"[" * 10**5 + b"]" * 10**5 + b"}]",
        "an integer of a million digits": b"9" * 10**6,
        "an integer of a million digits within an event": head + b"9" * 10**6 + b"}]",
        "an event over the cap": head + b'1,"details":"' + b"x" * 100_000 + b'"}]',
        "two megabytes": b"x" * (2 << 20),
    }
