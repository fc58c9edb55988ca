"""Try odd calls at every door: ``python -m tests.containment [--cases 20000] [--seed 7]``.

    python -m tests.containment --door http --cases 2000       # one door
    python -m tests.containment --case "client.cancel(task='none')"   # one case again
    python -m tests.containment --finds                          # the earlier finds

Exit status 1 if a case harmed somebody: each is printed so that ``--case`` repeats it.
"""

import argparse
import contextlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.containment.case import Case
from tests.containment.doors import DOORS
from tests.containment.finds import FINDS
from tests.containment.runner import Finding, Runner

ROOT = Path(__file__).parents[2]


def main() -> int:
    chosen = arguments()
    # Model hosts import the kit; and odd values name files, of which none may be one of ours.
    path = (str(ROOT), os.environ.get("PYTHONPATH", ""))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    logging.disable(logging.CRITICAL)  # much is refused, as it should be
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        Runner(transport=chosen.transport, tell=lambda finding: say(f"HARM {finding}")) as runner,
        contextlib.chdir(folder),
    ):
        if chosen.case or chosen.finds:
            finds = [find.case for find in FINDS] if chosen.finds else []
            try_cases(runner, [*map(Case.parse, chosen.case), *finds])
        else:
            try_doors(runner, chosen.door or list(DOORS), chosen.cases, chosen.seed)
        runner.finish()
    say(f"{runner.tried:,} cases in {time.monotonic() - began:.0f} s, {sum_of(runner.findings)}")
    return 1 if runner.findings else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.containment",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cases", type=int, default=4_000, help="of all doors together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--door", choices=sorted(DOORS), action="append")
    parser.add_argument("--transport", choices=("router", "pushpull"), default="router")
    parser.add_argument("--case", action="append", default=[], help="this alone, as it was printed")
    parser.add_argument("--finds", action="store_true", help="the earlier finds alone")
    return parser.parse_args()


def try_cases(runner: Runner, cases: Iterable[Case]) -> None:
    for case in cases:
        if runner.try_case(case) is None:
            say(f"ok   {case}")


def try_doors(runner: Runner, doors: Sequence[str], cases: int, seed: int) -> None:
    shares = sum(DOORS[name].share for name in doors)
    for name in doors:
        began, found = time.monotonic(), len(runner.findings)
        count = max(1, cases * DOORS[name].share // shares)
        runner.try_many(name, count, seed)
        findings = runner.findings[found:]
        say(f"{name}: {count:,} cases in {time.monotonic() - began:.0f} s, {sum_of(findings)}")


def sum_of(findings: Sequence[Finding]) -> str:
    return f"{len(findings)} did harm" if findings else "none did harm"


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
