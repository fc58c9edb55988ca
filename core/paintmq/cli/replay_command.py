"""``paintmq replay``: feed the recorded inputs of a broker to its machine again."""

from pathlib import Path
from typing import Annotated

import typer

from paintmq.cli.common_options import ConfigOption, installed_plugins, service_settings
from paintmq.cli.failures import FAILED


def add_to(app: typer.Typer) -> None:
    app.command("replay")(replay)


def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What broker.record wrote.")],
    router: Annotated[
        str, typer.Option(help="Let another router decide; answers are then not compared.")
    ] = "",
    config: ConfigOption = None,
) -> None:
    """Feed a recorded day to a fresh broker, without sockets, and compare what it answers."""
    from paintmq.broker.recording.replay import replay as replay_file
    from paintmq.config import RouterConfig

    plugins = installed_plugins(service_settings(config).config.plugins)
    other = RouterConfig(name=router) if router else None
    result = replay_file(file, plugins, router=other)
    sums = result.statistics
    endings = ", ".join(
        f"{sums.total(name)} {name}"
        for name in ("waiting", "running", "succeeded", "failed", "cancelled", "expired", "dead")
    )
    print(f"{result.inputs} inputs; {sums.accepted} tasks accepted: {endings}")
    if result.difference is None:
        print("not compared: another router decided" if router else "every answer was the same")
        return
    print(f"line {result.difference.line} was answered otherwise:")
    print(f"  recorded: {', '.join(result.difference.recorded) or 'nothing'}")
    print(f"  replayed: {', '.join(result.difference.replayed) or 'nothing'}")
    raise typer.Exit(FAILED)
