"""Lets a process of the chaos run live at another date: ``CHAOS_CLOCK`` is how many seconds on.

Only the wall clock is wrong; what measures time that passes is right, as on any machine.
"""

import os
import time

_OFFSET = float(os.environ.pop("CHAOS_CLOCK", "0"))

if _OFFSET:
    _time, _time_ns = time.time, time.time_ns  # noqa: TID251 -- it is what is to be wrong
    time.time = lambda: _time() + _OFFSET  # noqa: TID251
    time.time_ns = lambda: _time_ns() + int(_OFFSET * 1e9)
