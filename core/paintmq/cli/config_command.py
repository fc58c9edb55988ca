"""``paintmq config``: the effective settings as a file that could be loaded again."""

import typer

from paintmq.cli.common_options import ConfigOption, installed_plugins, service_settings


def add_to(app: typer.Typer) -> None:
    app.command("config")(config)


def config(config: ConfigOption = None) -> None:
    """Print the effective settings as TOML, with their help and who set what."""
    from paintmq.config import LOCAL
    from paintmq.settings.toml_text import toml_lines

    settings = service_settings(config)
    plugins = installed_plugins(settings.config.plugins)
    # What names a plugin's router or launcher is only known to be right once that was asked.
    plugins.make_router(settings.config.router)
    if settings.config.node.launcher != LOCAL:
        plugins.make_launcher(settings.config.node)
    print("\n".join(toml_lines(settings)))
