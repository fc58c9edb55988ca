"""``paintmq drain``: have one worker leave in order."""

from typing import Annotated, Any

import typer

from paintmq.cli.common_options import ConfigOption, ConnectOption, connected


def add_to(app: typer.Typer) -> None:
    app.command("drain")(drain)


def drain(
    worker: Annotated[
        str, typer.Argument(help="A worker's name, or a node's, as `paintmq status` shows it.")
    ],
    grace: Annotated[
        float, typer.Option(help="Seconds its running tasks have; then they go to others.")
    ] = 30.0,
    session: Annotated[
        str,
        typer.Option(
            metavar="ID", help="Which one, where several workers of one name are connected."
        ),
    ] = "",
    connect: ConnectOption = None,
    config: ConfigOption = None,
) -> None:
    """Have a worker, or a whole node, finish what it runs, take nothing more and leave."""
    with connected(connect, config) as client:
        which: Any = {"session": session} if session else {}
        client.ask("drain_worker", name=worker, grace=grace, **which)
    print(f"{worker}: takes nothing more, and leaves within {grace:g} s")
