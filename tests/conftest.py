"""Settings that hold for every test."""

import os
from pathlib import Path

from hypothesis import settings

# The processes that tests start import `tests.harness` too, wherever they run.
_ROOT = str(Path(__file__).parents[1])
os.environ["PYTHONPATH"] = os.pathsep.join(
    [_ROOT, *filter(None, [os.environ.get("PYTHONPATH", "")])]
)

# The same examples on every run: a red build means a new bug, never bad luck. To hunt for bugs:
# pytest --hypothesis-profile=hunt
settings.register_profile("default", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("hunt", deadline=None, derandomize=False, max_examples=2_000)
settings.load_profile("default")
