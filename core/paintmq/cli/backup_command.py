"""``paintmq backup``: a copy of the journal of a broker that goes on working."""

import json
from pathlib import Path
from time import sleep
from typing import Annotated, Any

import typer

from paintmq.cli.common_options import ConfigOption, ConnectOption, JsonOption, connected
from paintmq.cli.failures import FAILED, report
from paintmq.units import MIB

_LOOK_AGAIN = 0.1
"""Seconds between two looks at a backup under way."""


def add_to(app: typer.Typer) -> None:
    app.command("backup")(backup)


def backup(
    path: Annotated[
        Path,
        typer.Argument(help="A new folder for it, on the broker's machine.", show_default=False),
    ],
    connect: ConnectOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the journal of a running broker, payloads included, to a new folder.

    The copy is a journal like any other: to restore it, stop the broker and let broker.journal
    name the copy.
    """
    with connected(connect, config) as client:
        state: Any = client.ask("backup", path=str(path.absolute()))
        while state["state"] == "running":
            sleep(_LOOK_AGAIN)
            state = client.ask("backup", path=str(path.absolute()))
    if as_json:
        print(json.dumps(state, indent=2))
    elif state["state"] == "done":
        print(
            f"{state['path']}: {state['tasks']} tasks as of record {state['sequence']},"
            f" {state['files']} payload files, {state['size'] / MIB:,.1f} MB"
        )
    if state["state"] == "failed":
        report(f"the backup to {state['path']} failed: {state['error']}")
        raise typer.Exit(FAILED)
    if state["damaged"]:
        report(
            f"{state['damaged']} payload files of the journal are lost or changed, and are not in"
            " the backup; their tasks will fail"
        )
        raise typer.Exit(FAILED)
