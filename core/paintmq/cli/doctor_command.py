"""``paintmq doctor``: check in advance that what is installed and configured here can work."""

import json

import typer
from attrs import asdict

from paintmq.cli.common_options import ConfigOption, JsonOption, installed_plugins, service_settings
from paintmq.cli.failures import FAILED


def add_to(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Look at the system, versions, plugins, model processes, journal, keys and ports.

    Nothing is changed. The exit status is 1 if there is a problem.
    """
    from paintmq.cli import examination
    from paintmq.cli.surroundings import surroundings

    read = service_settings(config)
    settings = read.config
    manager = installed_plugins(settings.plugins)
    examined = examination.examined
    found = [
        *examined("system", lambda: surroundings(read)),
        *examination.software(),
        *examination.machine(),
        examination.sharing(settings),
        *examination.files(settings),
        *examination.plugins(manager, settings),
        *examined("models", lambda: examination.models(settings)),
        *examined("journal", lambda: examination.journal(settings.broker, manager.stores)),
        *examined("keys", lambda: examination.keys(settings.broker, settings.queues)),
        *examined("ports", lambda: examination.ports(settings)),
    ]
    if as_json:
        print(json.dumps([asdict(each) for each in found], indent=2))
    else:
        for each in found:
            print(f"{each.verdict:<8}{each.subject:<9}{each.text}")
    if any(each.verdict == "problem" for each in found):
        raise typer.Exit(FAILED)
