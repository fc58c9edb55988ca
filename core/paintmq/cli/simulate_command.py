"""``paintmq simulate``: which router for my traffic? Tries them on a fleet in simulated time."""

import json
from pathlib import Path
from typing import Annotated

import typer

from paintmq.errors import ConfigError

EXAMPLE = """\
name = "a small studio"
seed = 1

[[models]]
name = "large"
count = 4          # large-0 to large-3
load = 12.0        # seconds
run = 6.0
memory_mb = 9216

[[models]]
name = "quick"
count = 6
load = 2.0
run = 0.8
memory_mb = 2048

[[workers]]
name = "gpu"
count = 3
memory_mb = 24576

[traffic]
tasks = 2000
load = 0.5         # share of the fleet's time that running takes
skew = 1.0         # Zipf exponent of the models' popularity
priorities = { 0 = 0.8, 5 = 0.2 }

# [routers.model-affinity]   # none named: all installed ones are tried
# objective = "p99"
"""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("simulate")(simulate)


def simulate(
    description: Annotated[
        Path | None, typer.Argument(help="TOML file that describes the fleet and its traffic")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Recorded tasks (JSON lines) instead of generated ones")
    ] = None,
    journal: Annotated[
        Path | None, typer.Option(help="Tasks of a broker's journal, or its backup, instead")
    ] = None,
    save_trace: Annotated[
        Path | None, typer.Option(help="Write the tasks into this file, for --trace")
    ] = None,
    router: Annotated[
        list[str] | None, typer.Option(help="Try this router; may be given several times")
    ] = None,
    rivals: Annotated[
        bool, typer.Option("--rivals", help="Also try other systems' strategies")
    ] = False,
    chart: Annotated[Path | None, typer.Option(help="Draw the waits into this PNG file")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print figures as JSON")] = False,
    example: Annotated[
        bool, typer.Option("--example", help="Print a description to start from")
    ] = False,
) -> None:
    """Try routers on traffic, recorded or described, and compare waits, throughput and loads."""
    if example:
        typer.echo(EXAMPLE, nl=False)
        return
    if description is None:
        raise ConfigError("name a description; paintmq simulate --example prints one")
    from attrs import asdict

    from paintmq.fleet_simulation.comparison import compare
    from paintmq.fleet_simulation.description import read_description, write_trace

    if trace is not None and journal is not None:
        raise ConfigError("--trace and --journal both say which tasks come: give one of them")
    described = read_description(description, trace, journal)
    if save_trace is not None:
        write_trace(save_trace, described.traffic.tasks)
    routers = {name: described.routers.get(name, {}) for name in router or described.routers}
    results = compare(described.traffic, routers, rivals=rivals)
    if chart is not None:
        from paintmq.fleet_simulation.chart import draw_waits

        waits = {
            name: [ending.wait for ending in outcome.endings]
            for name, (outcome, _) in results.items()
        }
        draw_waits(chart, described.traffic.name, waits)
    summaries = [summary for _, summary in results.values()]
    if as_json:
        typer.echo(json.dumps([asdict(summary) for summary in summaries], indent=2))
        return
    from paintmq.cli.simulation_tables import show

    show(described.traffic, summaries)
