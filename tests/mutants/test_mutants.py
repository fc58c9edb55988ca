"""Rules broken on purpose: a test that passes all the same proves nothing."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.mutants.run import table

PARTS = 2


def test_the_page_names_every_mutant() -> None:
    page = Path(__file__).with_name("README.md").read_text()

    assert table() in page, "put the output of `python -m tests.mutants.run --table` there"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(PARTS))
def test_every_broken_rule_is_caught_by_its_test(part: int) -> None:
    """In a process of its own: whatever a broken rule leaves behind ends with it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutants.run", "--part", f"{part}/{PARTS}"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=290,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 not caught" in done.stdout
