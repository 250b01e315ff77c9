"""How the C library of this process keeps memory, which decides how fast networks compute on a processor."""

from __future__ import annotations

import ctypes
import platform

# Options of `mallopt`, from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 256 * 2**20
LARGEST_KEPT_BYTES = 32 * 2**20  # of one piece; the most that every glibc takes


def keep_freed_memory() -> None:
    """Keep up to 256 MB of freed memory for the next tensors, instead of giving it back to the system at once.

    glibc gives large pieces back as soon as they are free, and the system clears each page again for the next tensor:
    a fifth of the time of the packaged encoder goes into that, and more of what prepares pictures for training. It is
    a setting of the whole process, so programs call this, not libraries. Without glibc it does nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
    libc.mallopt(_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
