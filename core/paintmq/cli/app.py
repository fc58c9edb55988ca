"""The command line as a whole: its subcommands, and what holds for all of them."""

from collections.abc import Sequence
from contextvars import copy_context
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from paintmq.cli import (
    backup_command,
    config_command,
    dead_commands,
    doctor_command,
    drain_command,
    events_command,
    http_command,
    keys_command,
    logs_command,
    models_command,
    new_plugin,
    plugins_command,
    queues_command,
    replay_command,
    run_command,
    service_commands,
    simulate_command,
    stats_command,
    status_command,
    task_commands,
    top_command,
)
from paintmq.cli.failures import FAILED, exit_status, report, unexpected
from paintmq.cli.log_setup import logging_restored
from paintmq.cli.standard_streams import READER_GONE, is_of_output, output_failed
from paintmq.errors import PaintMQError


class _Commands(TyperGroup):
    """Our own commands at once; those of plugins only when a name is not one of ours.

    Loading plugins takes longer than everything else ``paintmq status`` does.
    """

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if command is None:
            command = _plugin_commands().get(cmd_name)
        return command

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)  # in the order of the sources, not of the alphabet


def make_app() -> typer.Typer:
    """Return the command line."""
    app = typer.Typer(
        name="paintmq",
        cls=_Commands,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        help="Image models as a distributed service. Start with: paintmq run --help",
    )
    app.callback()(_common)
    run_command.add_to(app)
    service_commands.add_to(app)
    status_command.add_to(app)
    stats_command.add_to(app)
    events_command.add_to(app)
    logs_command.add_to(app)
    top_command.add_to(app)
    task_commands.add_to(app)
    dead_commands.add_to(app)
    drain_command.add_to(app)
    queues_command.add_to(app)
    doctor_command.add_to(app)
    config_command.add_to(app)
    plugins_command.add_to(app)
    models_command.add_to(app)
    simulate_command.add_to(app)
    replay_command.add_to(app)
    new_plugin.add_to(app)
    http_command.add_to(app)
    keys_command.add_to(app)
    backup_command.add_to(app)
    return app


def run_command_line(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status. ``arguments`` is ``sys.argv[1:]`` by default."""
    try:
        with logging_restored():
            copy_context().run(make_app(), args=arguments, prog_name="paintmq")
    except PaintMQError as error:
        report(error)
        return exit_status(error)
    except TimeoutError as error:  # a broker that does not answer in time
        report(str(error))
        return FAILED
    except OSError as error:
        if is_of_output(error):
            return output_failed(error)
        return _unexpected(error)
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # rich has met it, and left
            return READER_GONE
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except Exception as error:  # noqa: BLE001 -- the last resort: rule 2 of this package
        return _unexpected(error)
    return 0


def _unexpected(error: Exception) -> int:
    import logging

    logging.getLogger(__name__).debug("unexpected", exc_info=error)
    report(unexpected(error))
    return FAILED


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"paintmq {version('paintmq')}")
        raise typer.Exit


def _common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def _plugin_commands() -> dict[str, Any]:
    """Return the commands that plugins add, by name."""
    from paintmq.cli.common_options import installed_plugins
    from paintmq.settings.file import load_config

    app = typer.Typer()
    app.callback()(_common)  # with a callback even a single command stays a subcommand
    installed_plugins(load_config().plugins).register_commands(app)
    group = typer.main.get_command(app)
    return dict(getattr(group, "commands", {}))
