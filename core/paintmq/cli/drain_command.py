"""``paintmq drain``, ``cordon`` and ``uncordon``: workers, or nodes, leave or rest in order."""

from typing import Annotated, Any

import typer

from paintmq.cli.common_options import ConfigOption, ConnectOption, connected


def add_to(app: typer.Typer) -> None:
    app.command("drain")(drain)
    app.command("cordon")(cordon)
    app.command("uncordon")(uncordon)


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


def cordon(
    name: Annotated[str, typer.Argument(help="A worker's name, or a node's.")],
    connect: ConnectOption = None,
    config: ConfigOption = None,
) -> None:
    """Give a worker, or a whole node, no more tasks; it stays connected, until `uncordon`."""
    with connected(connect, config) as client:
        workers = client.control.cordon(name)
    print(f"given no more tasks: {', '.join(workers)}")


def uncordon(
    name: Annotated[str, typer.Argument(help="The name that was cordoned.")],
    connect: ConnectOption = None,
    config: ConfigOption = None,
) -> None:
    """End `cordon`."""
    with connected(connect, config) as client:
        workers = client.control.uncordon(name)
    print(f"given tasks again: {', '.join(workers) or 'none that is connected'}")
