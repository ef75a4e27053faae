"""Reuse of freed memory instead of returning it to the operating system."""

import ctypes
import platform

from keras import ops

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
"""Parameters of `mallopt`, from glibc's `malloc.h`."""


def keep_freed_memory() -> bool:
    """Let this process keep freed memory for its next allocation.

    By default glibc maps large blocks separately and unmaps them when they are
    freed, so that each step of PyTorch, whose tensors come from `malloc`, waits
    for the system to zero the same pages again. With this setting the process
    keeps the memory of its peak. It is equivalent to `MALLOC_MMAP_MAX_=0
    MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=268435456` in the
    environment, for a running process.

    Returns:
        Boolean, whether it was set: not without glibc, and not if Keras runs
        on an accelerator, which has its own memory.
    """
    device = str(ops.convert_to_tensor(0.0).device)
    if platform.libc_ver()[0] != "glibc" or "cpu" not in device.lower():
        return False
    set_option = ctypes.CDLL(None).mallopt
    options = {
        _M_MMAP_MAX: 0,
        _M_TRIM_THRESHOLD: -1,  # Never.
        _M_TOP_PAD: 2**28,
    }
    return all(set_option(name, value) for name, value in options.items())
