"""Orders for nodes, and nodes behind a process of this machine."""

import sys
from collections.abc import Sequence
from typing import Any

import pytest

from paintmq.launching import NodeEnding, NodeOrder, ProcessNode
from paintmq_plugins.process_launcher import ProcessLauncher, ProcessOptions

PATIENCE = 45.0

ORDER = NodeOrder(
    name="farm-3",
    number=3,
    arguments=("node", "--name", "farm-3"),
    environment={"PAINTMQ_SETTINGS": "[workers]\ncount = 1"},
)


def run(script: str) -> ProcessNode:
    return ProcessNode.start(ORDER, (sys.executable, "-c", script))


def ending_of(node: ProcessNode) -> NodeEnding:
    ending = node.wait(PATIENCE)
    assert ending is not None
    return ending


def test_a_portable_command_carries_its_settings() -> None:
    assert ORDER.portable_command(["paintmq"]) == (
        "env",
        "PAINTMQ_SETTINGS=[workers]\ncount = 1",
        "paintmq",
        "node",
        "--name",
        "farm-3",
    )


@pytest.mark.parametrize(
    ("options", "command"),
    [
        ({}, [sys.executable, "-P", "-m", "paintmq", *ORDER.arguments]),
        (
            {"prefix": ("nice", "-n", "10"), "program": ("paintmq",)},
            ["nice", "-n", "10", "paintmq"],
        ),
        (
            {"prefix": ("docker", "run", "image"), "program": ("p",), "settings": "command"},
            ["docker", "run", "image", "env", "PAINTMQ_SETTINGS=[workers]\ncount = 1", "p"],
        ),
        ({"prefix": ("srun", "--job-name={name}")}, ["srun", "--job-name=farm-3", sys.executable]),
    ],
)
def test_the_process_launcher_puts_its_prefix_before_the_command(
    options: dict[str, Any], command: Sequence[str]
) -> None:
    made = ProcessLauncher(ProcessOptions(**options)).command(ORDER)

    assert list(made[: len(command)]) == list(command)
    assert made[-3:] == ORDER.arguments


def test_what_goes_through_a_shell_is_one_quoted_argument() -> None:
    options = ProcessOptions(prefix=("ssh", "gpu{number}"), program=("p",), settings="shell")

    assert ProcessLauncher(options).command(ORDER) == (
        "ssh",
        "gpu3",
        "env 'PAINTMQ_SETTINGS=[workers]\ncount = 1' p node --name farm-3",
    )


def test_a_process_gets_the_orders_settings_and_none_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PAINTMQ_WORKERS__COUNT", "9")
    monkeypatch.setenv("PAINTMQ_LOG", "info")

    node = run("import os; print(sorted(v for v in os.environ if v.startswith('PAINTMQ_')))")

    assert "['PAINTMQ_LOG', 'PAINTMQ_SETTINGS']" in ending_of(node).reason


@pytest.mark.parametrize(
    ("script", "ending"),
    [
        ("pass", NodeEnding("exited with status 0", again=False)),
        ("import sys; sys.exit('no GPU')", NodeEnding("exited with status 1: no GPU")),
        ("import os; os.kill(os.getpid(), 9)", NodeEnding("was killed by signal 9")),
    ],
)
def test_how_a_process_ended_says_whether_it_is_wanted_again(
    script: str, ending: NodeEnding
) -> None:
    node = run(script)

    assert ending_of(node) == ending
    node.stop(1.0)  # harmless by now, as is
    node.kill()


def test_a_process_is_told_how_long_it_has_and_then_killed() -> None:
    node = run("import sys, time; print('told', input(), flush=True); time.sleep(600)")
    assert node.wait(0.0) is None

    node.stop(2.5)
    while "told stop 2.5" not in node.said:
        assert node.wait(0.01) is None
    node.kill()

    assert ending_of(node).reason == "was killed by signal 9: told stop 2.5"
