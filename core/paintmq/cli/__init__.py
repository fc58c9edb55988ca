"""The ``paintmq`` command. What each subcommand does is in the module named after it.

Rule 1: a module here imports nothing heavy at its top: ``paintmq --help`` imports them all.
Rule 2: whatever goes wrong ends in one clear line on stderr and an exit status: ``failures.py``.
Rule 3: what a program might read goes to stdout, such as ``--json``; the rest to stderr.
"""


def main() -> None:
    """Run the command line, and exit."""
    from paintmq.platforms import system_objection

    if objection := system_objection():
        raise SystemExit(f"error: {objection}")
    from paintmq.cli.app import run_command_line
    from paintmq.cli.standard_streams import flushed, made_usable

    made_usable()
    raise SystemExit(flushed(run_command_line()))
