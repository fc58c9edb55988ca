"""Lets a process of the chaos run live at another date: ``CHAOS_CLOCK`` is how many seconds on.

``stopped``: its clock stands still from its start. Only the wall clock is wrong; what measures time
that passes is right, as on any machine.
"""

import os
import time

_CLOCK = os.environ.pop("CHAOS_CLOCK", "0")

if _CLOCK == "stopped":
    _stopped = time.time_ns()
    time.time = lambda: _stopped / 1e9  # noqa: TID251
    time.time_ns = lambda: _stopped
elif _OFFSET := float(_CLOCK):
    _time, _time_ns = time.time, time.time_ns  # noqa: TID251
    time.time = lambda: _time() + _OFFSET  # noqa: TID251
    time.time_ns = lambda: _time_ns() + int(_OFFSET * 1e9)
