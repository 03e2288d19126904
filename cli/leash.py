"""Runs a command that dies with its parent: ``python leash.py PARENT_PID COMMAND...``.

Run as a file by a bare interpreter, so it imports nothing of ours. The kernel keeps the wish across exec; to set it
between fork and exec from a process that may have threads (preexec_fn) can hang in the child.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Become ``command``, tied to the life of ``parent``. Where there is no such tie (macOS) it runs untied."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) was refused")
        # The parent may have died before the wish was made: then no signal will ever come.
        if os.getppid() != parent:
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606  no shell is wanted


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
