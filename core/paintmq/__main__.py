"""``python -m paintmq`` is the paintmq command."""

import sys

if not sys.flags.safe_path:
    # Python has put the current folder first, for -m; nothing in it is ours: interpreter.py.
    del sys.path[0]

from paintmq.cli import main

main()
