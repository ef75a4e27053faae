"""Freed memory is reused, with glibc and without an accelerator."""

import platform
import sys

import pytest

from keras_sam.experiments import memory
from keras_sam.experiments.__main__ import main
from tests import running

# Allocates and writes 512 MiB ten times, and prints the number of page faults
# after the first time.
TOUCH = """
import ctypes, resource, sys
from keras_sam.experiments.memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
c = ctypes.CDLL(None)
c.malloc.restype = ctypes.c_void_p
c.malloc.argtypes = [ctypes.c_size_t]
c.free.argtypes = [ctypes.c_void_p]
def touch():
    block = c.malloc(2**29)
    ctypes.memset(block, 1, 2**29)
    c.free(block)
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.parametrize("how", ["kept", "returned"])
def test_kept_pages_are_allocated_once(how):
    num_pages = int(running.printed_by("-c", TOUCH, how).split()[-1])
    # With large pages, a block has 256. Python itself uses a few.
    if how == "kept":
        assert num_pages < 100
    else:
        assert num_pages >= 2560


@pytest.mark.parametrize(("libc", "device"), [("", "cpu"), ("glibc", "cuda:0")])
def test_nothing_is_set_without_glibc_or_with_an_accelerator(
    libc, device, monkeypatch
):
    class Tensor:
        def __init__(self):
            self.device = device

    monkeypatch.setattr(platform, "libc_ver", lambda: (libc, ""))
    monkeypatch.setattr(memory.ops, "convert_to_tensor", lambda _: Tensor())
    monkeypatch.setattr(memory.ctypes, "CDLL", None)
    assert not memory.keep_freed_memory()


def test_the_command_line_keeps_memory_except_to_list(monkeypatch, capsys):
    module = sys.modules[main.__module__]
    calls = []
    monkeypatch.setattr(module, "keep_freed_memory", lambda: calls.append(1))
    main(["list", "label-noise-40"])
    assert not calls
    monkeypatch.setattr(module, "run", lambda *_: [])
    main(["label-noise-40/sam"])
    assert calls
