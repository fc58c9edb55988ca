"""``paintmq plugins``: what is installed, what became of it, and whether one keeps to the rules."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from paintmq.cli.common_options import ConfigOption, JsonOption, installed_plugins, service_settings
from paintmq.cli.failures import note
from paintmq.cli.tables import plain_console, plain_table

if TYPE_CHECKING:
    from paintmq.plugin.manager import PluginManager
    from paintmq.plugin.report import PluginReport

app = typer.Typer(
    invoke_without_command=True, help="Installed plugins; `paintmq plugins check` tests one."
)

_STATE_STYLES = {"ready": "green", "disabled": "dim", "set aside": "red"}


def add_to(app_: typer.Typer) -> None:
    app_.add_typer(app, name="plugins")


@app.callback()
def list_plugins(
    context: typer.Context,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    timings: Annotated[
        bool, typer.Option("--timings", help="Show how long each took to load.")
    ] = False,
) -> None:
    """List the installed plugins: version, what each provides, and why one is not used."""
    if context.invoked_subcommand is not None:
        return
    manager = _quiet_manager(config)
    reports = manager.reports()
    if as_json:
        from paintmq.model import API_VERSION
        from paintmq.plugin.spec_check import OLDEST_API_VERSION

        summary = {
            "plugins": [report.to_json() for report in reports],
            "warnings": list(manager.warnings),
            "model_interface": {"oldest": OLDEST_API_VERSION, "newest": API_VERSION},
        }
        print(json.dumps(summary, indent=2))
        return
    _print_table(reports, timings=timings)
    for report in reports:
        if report.state == "set aside":
            note(f"{report.title} is set aside: {report.reason}")
        for warning in report.warnings:
            note(f"{report.title}: {warning}")
    for warning in manager.warnings:
        note(warning)


@app.command("check")
def check(
    plugin: Annotated[
        str,
        typer.Argument(
            metavar="PATH-OR-NAME", help="A project's folder, a manifest's file, or a name."
        ),
    ],
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show the code where a rule was broken.")
    ] = False,
) -> None:
    """Try a plugin against every rule for its models and routers; a broken one is status 1."""
    from paintmq.cli.plugin_check import run_check

    raise typer.Exit(run_check(plugin, verbose=verbose))


def _quiet_manager(config: object) -> "PluginManager":
    """Load the plugins without the log saying what the table says better."""
    import logging
    from pathlib import Path

    from paintmq.plugin.manager import logger

    settings = service_settings(config if isinstance(config, Path) else None).config
    level, logger.level = logger.level, logging.CRITICAL
    try:
        return installed_plugins(settings.plugins)
    finally:
        logger.level = level


def _print_table(reports: "list[PluginReport]", *, timings: bool) -> None:
    from rich.text import Text

    loads = ("load",) if timings else ()
    table = plain_table(
        "plugin", "distribution", "version", "state", *loads, "provides", unbroken=4
    )
    for report in reports:
        cells = [f"{report.load_seconds * 1000:.1f} ms"] if timings else []
        table.add_row(
            report.name,
            report.distribution,
            report.version,
            Text(report.state, _STATE_STYLES[report.state]),
            *cells,
            ", ".join(report.provides) or "-",
        )
    plain_console().print(table)
