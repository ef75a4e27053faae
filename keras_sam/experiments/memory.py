"""What a CPU spends on memory that is given back and taken again."""

import ctypes
import platform

from keras import ops

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
"""Parameters of `mallopt`, from glibc's `malloc.h`."""


def keep_freed_memory() -> bool:
    """Let this process keep freed memory for its next allocation.

    By default glibc maps large blocks of their own and gives them back as soon
    as they are free, so that a step whose tensors come from `malloc`, as those
    of PyTorch do, has pages zeroed that it had before. Afterwards the process
    keeps the memory of its peak. That is
    `MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000
    MALLOC_TOP_PAD_=268435456` in the environment, for a process that runs.

    Returns:
        Boolean, whether it was set: not without glibc, and not where Keras
        runs on an accelerator, whose memory is another.
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
