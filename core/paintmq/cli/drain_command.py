"""``paintmq drain``: have one worker leave in order."""

from typing import Annotated

import typer

from paintmq.cli.common_options import ConfigOption, ConnectOption, connected


def add_to(app: typer.Typer) -> None:
    app.command("drain")(drain)


def drain(
    worker: Annotated[str, typer.Argument(help="Its name, as `paintmq status` shows it.")],
    grace: Annotated[
        float, typer.Option(help="Seconds its running tasks have; then they go to others.")
    ] = 30.0,
    connect: ConnectOption = None,
    config: ConfigOption = None,
) -> None:
    """Have a worker finish what it runs, take nothing more and leave."""
    with connected(connect, config) as client:
        client.ask("drain_worker", name=worker, grace=grace)
    print(f"{worker}: takes nothing more, and leaves within {grace:g} s")
