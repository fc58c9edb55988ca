"""Settings that hold for every test."""

from hypothesis import settings

# The same examples on every run: a red build means a new bug, never bad luck. To hunt for bugs:
# pytest --hypothesis-profile=hunt
settings.register_profile("default", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("hunt", deadline=None, derandomize=False, max_examples=2_000)
settings.load_profile("default")
