"""Makes single threads of a process hang, as a debugger does: the others go on."""

import contextlib
import ctypes
import os
from pathlib import Path

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17
WALL = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def threads(pid, name):
    """The threads of a process that have that name (its first 15 bytes)."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            if (task / "comm").read_text().strip() == name[:15]:
                found.append(int(task.name))
    return found


def ptrace(request, thread):
    if libc.ptrace(request, thread, None, None) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"ptrace: {os.strerror(error)}")


@contextlib.contextmanager
def hanging(pid, name):
    """Every thread of that name stands still within the block."""
    held = threads(pid, name)
    assert held, f"there is no thread {name}"
    try:
        for thread in held:
            ptrace(PTRACE_SEIZE, thread)
            ptrace(PTRACE_INTERRUPT, thread)
            os.waitpid(thread, WALL)
        yield held
    finally:
        for thread in held:
            try:
                ptrace(PTRACE_DETACH, thread)
            except OSError:
                # It died; until its tracer has seen that, its process does not end.
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(thread, WALL)
