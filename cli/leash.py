"""Runs a command that dies with its parent: ``python leash.py PARENT_PID SIGNAL COMMAND...``.

Run as a file by a bare interpreter, so it imports nothing of ours. The kernel keeps the wish across exec; to set it
between fork and exec from a process that may have threads (preexec_fn) can hang in the child.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, number: int, command: list[str]) -> None:
    """Become ``command``, which gets the signal when ``parent`` dies. Where there is no tie (macOS) it gets none."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) was refused")
        # The parent may have died before the wish was made: then no signal will ever come.
        if os.getppid() != parent:
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606  no shell is wanted


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
