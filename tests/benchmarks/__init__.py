"""Scripts that measure: ``python -m tests.benchmarks.NAME``; ``--page`` has each write its page."""
