"""What ``paintmq plugins check`` prints: one line per rule, and why it failed.

A pytest plugin that takes the place of pytest's own output.
"""

import json
import os
import re
from collections import Counter

import pytest
from attrs import define, field
from rich.console import Console

PASSED, FAILED, SKIPPED = "ok", "FAILED", "skipped"
_STYLES = {PASSED: "green", FAILED: "bold red", SKIPPED: "yellow"}

VERBOSE_VARIABLE = "PAINTMQ_CHECK_VERBOSE"
TITLES_VARIABLE = "PAINTMQ_CHECK_TITLES"
"""JSON: the name of each test class to what it stands for."""


@pytest.hookimpl(trylast=True)  # after pytest has made its own
def pytest_configure(config: pytest.Config) -> None:
    usual = config.pluginmanager.getplugin("terminalreporter")
    if usual is not None:
        config.pluginmanager.unregister(usual)
    titles: dict[str, str] = json.loads(os.environ.get(TITLES_VARIABLE, "{}"))
    report = CheckReport(titles, verbose=bool(os.environ.get(VERBOSE_VARIABLE)))
    config.pluginmanager.register(report, "paintmq-check-report")


@define
class CheckReport:
    """Prints each rule as it was tried."""

    titles: dict[str, str]
    verbose: bool = field(kw_only=True)
    console: Console = field(factory=lambda: Console(highlight=False, soft_wrap=True))
    counts: Counter[str] = field(factory=Counter[str], init=False)
    _title: str = field(default="", init=False)
    _said: set[str] = field(factory=set[str], init=False)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # Set-up and teardown are reported only when they fail.
        if report.when != "call" and report.passed:
            return
        self._head(report.nodeid)
        outcome = PASSED if report.passed else SKIPPED if report.skipped else FAILED
        self.counts[outcome] += 1
        self.console.print(f"  {outcome:<8}", style=_STYLES[outcome], end="")
        self.console.print(f" {rule_of(report.nodeid)}", markup=False)
        if outcome is not PASSED:
            self._explain(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.counts[FAILED] += 1
            self.console.print(report.longreprtext, markup=False)

    def pytest_sessionfinish(self) -> None:
        named = ((PASSED, "passed"), (FAILED, "failed"), (SKIPPED, "skipped"))
        told = [f"{self.counts[outcome]} {name}" for outcome, name in named if self.counts[outcome]]
        self.console.print(f"\n{sum(self.counts.values())} rules: {', '.join(told)}")

    def _head(self, nodeid: str) -> None:
        name = nodeid.split("::")[1]
        title = self.titles.get(name, name)
        if title != self._title:
            self._title = title
            self.console.print(f"\n{title}", style="bold", markup=False)

    def _explain(self, report: pytest.TestReport) -> None:
        text = reason_of(report)
        if text in self._said:
            text = "as above"
        self._said.add(text)
        for line in text.splitlines():
            self.console.print(f"           {line}", style="dim", markup=False)
        if self.verbose and report.failed:
            self.console.print(report.longreprtext, markup=False)


def rule_of(nodeid: str) -> str:
    """Return the rule a test stands for: its name as a sentence."""
    name, bracket, parameters = nodeid.split("::")[-1].partition("[")
    sentence = name.removeprefix("test_").replace("_", " ")
    return f"{sentence} ({parameters.removesuffix(']')})" if bracket else sentence


def reason_of(report: pytest.TestReport) -> str:
    """Return why a test failed or was skipped, without the code that found out."""
    if isinstance(report.longrepr, tuple):  # of a skipped test: file, line, reason
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is None:
        return report.longreprtext
    # pytest adds what it knows of the compared values below the message.
    message = re.split(r"\nassert |\n  where ", str(crash.message))[0]
    return message.removeprefix("AssertionError: ").removeprefix("Failed: ")
