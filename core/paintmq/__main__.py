"""``python -m paintmq`` is the paintmq command."""

from paintmq.cli import main

main()
