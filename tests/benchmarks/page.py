"""The page on which a benchmark's figures stand: ``results/NAME.md``, written by ``--page``.

A page has two parts. What was measured, when, on what and of which commit, is written by the
benchmark anew each time. The *notes* below it are by hand and are kept: what the figures mean, and
what to compare them with. A run without ``--page`` only prints.
"""

import contextlib
import inspect
import io
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).with_name("results")
NOTES = "## Notes"
OPTION = "--page"


def run_with_page(main: Callable[[], object]) -> None:
    """Run a benchmark's ``main``; with ``--page`` put on its page what it printed."""
    if OPTION not in sys.argv:
        main()
        return
    sys.argv.remove(OPTION)
    name = Path(inspect.getfile(main)).stem
    command = shlex.join(["python", "-m", f"tests.benchmarks.{name}", *sys.argv[1:]])
    printed = io.StringIO()
    with contextlib.redirect_stdout(_Both(printed)):
        main()
    (summary, *_) = (sys.modules[main.__module__].__doc__ or name).splitlines()
    page = RESULTS / f"{name}.md"
    before = page.read_text("utf-8") if page.exists() else ""
    text = page_text(before, summary=summary, command=command, lines=printed.getvalue())
    page.write_text(text, encoding="utf-8")


def page_text(before: str, *, summary: str, command: str, lines: str) -> str:
    """Return a page with new figures, and the title and notes of the one before."""
    head, _, notes = before.partition(f"\n{NOTES}\n")
    title = next((line for line in head.splitlines() if line.startswith("# ")), f"# {summary}")
    parts = [title, "", provenance(command), "", *_blocks(lines.splitlines())]
    if notes:
        parts += ["", NOTES, notes.rstrip()]
    return "\n".join(parts) + "\n"


def provenance(command: str) -> str:
    """Return what was run, on which day and machine, of which commit."""
    describe = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(describe, capture_output=True, text=True, check=False).stdout.strip()
    return (
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, commit {commit or 'unknown'}; "
        f"{os.cpu_count()} cores ({platform.machine()}), {platform.system()} "
        f"{platform.release().partition('-')[0]}, Python {platform.python_version()}"
    )


def _blocks(lines: Sequence[str]) -> list[str]:
    """Return the lines as Markdown: tables as they are, everything else as it was printed."""
    blocks: list[str] = []
    fenced = False
    for line in lines:
        is_table = line.startswith("|")
        if is_table == fenced and (line or fenced):  # a fence begins or ends here
            blocks.append("```")
            fenced = not fenced
        blocks.append(line)
    return [*blocks, "```"] if fenced else blocks


class _Both(io.TextIOBase):
    """Writes to the terminal, and into a text that is kept."""

    def __init__(self, kept: io.StringIO) -> None:
        self._kept, self._terminal = kept, sys.stdout

    def write(self, text: str) -> int:
        self._terminal.write(text)
        return self._kept.write(text)

    def flush(self) -> None:
        self._terminal.flush()
