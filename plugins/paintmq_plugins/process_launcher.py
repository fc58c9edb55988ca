"""The launcher ``process``: a node in a process of its own, perhaps behind another command.

``prefix = ["ssh", "gpu{number}"]`` with ``settings = "shell"`` starts it on another machine,
``["srun", "--gres=gpu:1"]`` in a batch system, ``["nice", "-n", "10"]`` politely.
"""

import shlex
from typing import Literal

from attrs import field, frozen

from paintmq.hookspecs import RegisterLauncher
from paintmq.launching import LaunchedNode, Launcher, NodeOrder, ProcessNode, own_program


@frozen(kw_only=True)
class ProcessOptions:
    """How to start the processes."""

    prefix: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "what comes before the node's command; {name} and {number} stand for the node's"
        },
    )
    program: tuple[str, ...] = field(
        default=(),
        metadata={"help": "the paintmq command there, such as ['paintmq']; empty: this one"},
    )
    settings: Literal["environment", "command", "shell"] = field(
        default="environment",
        metadata={
            "help": "how the settings get there; command: on the command line, where every user"
            " of that machine can read them, for a prefix that passes no environment on; shell:"
            " the same in one argument, quoted, for one that hands it to a shell as ssh does"
        },
    )


class ProcessLauncher(Launcher):
    """Runs the command line that the options describe."""

    def __init__(self, options: ProcessOptions) -> None:
        self._options = options

    def launch(self, order: NodeOrder) -> LaunchedNode:
        return ProcessNode.start(order, self.command(order))

    def command(self, order: NodeOrder) -> tuple[str, ...]:
        options = self._options
        program = options.program or own_program()
        places = {"{name}": order.name, "{number}": str(order.number)}
        prefix = tuple(_filled(part, places) for part in options.prefix)
        if options.settings == "command":
            return (*prefix, *order.portable_command(program))
        if options.settings == "shell":
            return (*prefix, shlex.join(order.portable_command(program)))
        return (*prefix, *program, *order.arguments)


def _filled(text: str, places: dict[str, str]) -> str:
    for place, value in places.items():
        text = text.replace(place, value)
    return text


def paintmq_register_launchers(register: RegisterLauncher) -> None:
    register("process", ProcessLauncher, ProcessOptions)
