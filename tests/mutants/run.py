"""Break one rule after the other, and report those whose test passes all the same.

    python -m tests.mutants.run              # all of them
    python -m tests.mutants.run I7 tenant    # by invariant, or by part of their names
    python -m tests.mutants.run --part 0/3   # every third
    python -m tests.mutants.run --table      # print the table of README.md

Each runs the one test that must fail, in this process.
"""

import argparse
import contextlib
import io
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import Phase, settings
from tests.harness.simulation.mutants import MUTANTS
from tests.mutants.containment_rules import CONTAINMENT_RULES
from tests.mutants.rules import RULES, BrokenRule
from tests.mutants.sharing_rules import SHARING_RULES

ALL_RULES = (*RULES, *CONTAINMENT_RULES, *SHARING_RULES)
TESTS = Path(__file__).parent.parent
# Only the failure counts, so neither a minimal example nor a readable message is worth its time.
settings.register_profile(
    "mutants", deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate]
)
OPTIONS = (
    *("-x", "-q", "--tb=line", "--assert=plain", "--hypothesis-profile=mutants"),
    *("-p", "no:cacheprovider", "-p", "no:xdist"),
)


def objection(rule: BrokenRule) -> str:
    """Return why the rule does not count as tested; empty when its test fails as it must."""
    heard = io.StringIO()
    with (
        patch.object(rule.owner, rule.attribute, rule.broken),
        contextlib.redirect_stdout(heard),
        contextlib.redirect_stderr(heard),
    ):
        status = pytest.main([test_called(rule.caught_by), *OPTIONS])
    if status == pytest.ExitCode.TESTS_FAILED:
        return ""
    if status == pytest.ExitCode.OK:
        return f"{rule.caught_by} passes"
    return f"{rule.caught_by} did not run:\n{heard.getvalue()[-2000:]}"


def test_called(name: str) -> str:
    """Return the node id of the one test with this name, wherever it is kept.

    Raises:
        LookupError: there is none, or another.
    """
    begins = re.compile(rf"^def test_{name}\(", re.MULTILINE)
    found = [path for path in TESTS.rglob("test_*.py") if begins.search(path.read_text())]
    if len(found) != 1:
        raise LookupError(f"{len(found)} tests are called test_{name}: {found}")
    return f"{found[0]}::test_{name}"


def chosen_rules(names: Sequence[str], part: str) -> list[BrokenRule]:
    number, parts = (int(each) for each in part.split("/"))
    return [
        rule
        for rule in ALL_RULES[number::parts]
        if not names or any(name == rule.invariant or name in rule.name for name in names)
    ]


def table() -> str:
    """Return all mutants, the simulation's too, as rows of a table, by invariant."""
    rows = [(rule.invariant, rule.name, f"`test_{rule.caught_by}`") for rule in ALL_RULES]
    for mutant in MUTANTS:
        named = [word for word in mutant.seen_as.split("|") if re.fullmatch(r"I\d+", word)]
        rows.append((", ".join(named), f"a broker that {mutant.name}", "the simulation"))
    rows.sort(key=lambda row: int(row[0][1:].split(",")[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", help="an invariant, or a part of a name")
    parser.add_argument("--part", default="0/1", help="N/M: from the Nth on, every Mth rule")
    parser.add_argument("--table", action="store_true")
    chosen = parser.parse_args()
    if chosen.table:
        print(table())
        return 0
    missed = 0
    for rule in chosen_rules(chosen.names, chosen.part):
        began = time.monotonic()
        wrong = objection(rule)
        missed += bool(wrong)
        verdict = wrong or f"caught in {time.monotonic() - began:.1f} s"
        print(f"{rule.invariant:>3} {rule.name}: {verdict}", flush=True)
    print(f"{missed} not caught")
    return 1 if missed else 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # a broken rule may have left a thread behind that waits for ever
