"""Whether freed memory serves the next picture: seen by the pages a process has to be given."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from paintmq.process import allocator
if "keep" in sys.argv:
    allocator.keep()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident():
    return int(open("/proc/self/statm").read().split()[1])

for _ in range(3):  # what it has to be given once
    first, second = bytearray(20_000_000), bytearray(20_000_000)
    del first, second
before = faults()
for _ in range(10):
    first, second = bytearray(20_000_000), bytearray(20_000_000)
    del first, second
pages, kept = faults() - before, resident()
allocator.give_back()
print(pages, kept - resident())
"""
PAGES_OF_ONE = 20_000_000 // 4096

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc",
    reason="is about the GNU C library",
)


def outcome(*arguments: str) -> tuple[int, int]:
    """Return the pages the program was given for ten pairs of blocks, and those it gave back."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    pages, returned = subprocess.check_output(command, text=True, timeout=60).split()
    return int(pages), int(returned)


def test_a_freed_block_serves_the_next_one_and_goes_back_when_that_is_asked_for() -> None:
    pages, returned = outcome("keep")

    assert pages < PAGES_OF_ONE
    assert returned > PAGES_OF_ONE


def test_a_program_that_did_not_ask_for_it_is_left_as_it_is() -> None:
    assert outcome()[0] > 10 * PAGES_OF_ONE
