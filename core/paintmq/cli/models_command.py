"""``paintmq models``: what is installed, what each takes, and its weights."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from attrs import asdict, evolve

from paintmq.cli.common_options import ConfigOption, JsonOption, installed_plugins, service_settings
from paintmq.cli.failures import FAILED, CommandError, exit_status, note, report
from paintmq.cli.tables import plain_console, plain_table
from paintmq.errors import PaintMQError
from paintmq.units import MIB

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from paintmq.model import ModelSpec, WeightFile
    from paintmq.plugin.catalog import Catalog
    from paintmq.task import DeviceKind, Json
    from paintmq.weights import WeightFolder, WeightStatus
    from paintmq.weights.checksums import Progress

app = typer.Typer(no_args_is_help=True, help="Installed models: list, show, download, verify.")

ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="Name of a model.")]
ModelNames = Annotated[
    list[str] | None, typer.Argument(metavar="MODEL...", help="Models or weight files.")
]


def add_to(app_: typer.Typer) -> None:
    app_.add_typer(app, name="models")


@app.command("list")
def list_models(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the installed models."""
    catalog, folder = _installed(config)
    if as_json:
        print(json.dumps([_to_json(spec, folder) for spec in catalog.specs.values()], indent=2))
        return
    table = plain_table("model", "task types", "devices", "weights", "licence", "summary")
    for spec in catalog.specs.values():
        table.add_row(
            spec.name,
            ", ".join(spec.task_types),
            ", ".join(spec.devices),
            _readiness(spec, folder),
            spec.licence,
            spec.summary,
        )
    plain_console().print(table)
    if not catalog.specs:
        note("none; see `paintmq plugins` for plugins that could not be loaded")


@app.command("show")
def show(model: ModelName, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show a model: its options with their defaults and limits, inputs, needs and weights."""
    catalog, folder = _installed(config)
    spec = catalog.get(model)
    if as_json:
        print(json.dumps(_to_json(spec, folder), indent=2))
        return
    console = plain_console()
    console.print(f"{spec.name}: {spec.summary}", style="bold", soft_wrap=True)
    for name, value in _facts(spec):
        console.print(f"{name:>12}  {value}", soft_wrap=True)
    for title, table in (
        ("Options", _option_table(spec)),
        ("Inputs", _input_table(spec)),
        ("Weights", _weight_table(spec, folder)),
    ):
        if table.row_count:
            console.print(f"\n{title}", style="bold")
            console.print(table)


@app.command("download")
def download(models: ModelNames = None, config: ConfigOption = None) -> None:
    """Fetch the weights of models into the models folder; what is there is left alone."""
    from paintmq.weights.download import download as fetch

    if not models:
        raise CommandError("say what to download: names of models or weight files")
    catalog, folder = _installed(config)
    files = _files(catalog, models)
    failed: list[PaintMQError] = []
    for file in files:
        try:
            with _bar(file.name) as progress:
                path = fetch(file, folder, progress)
        except PaintMQError as error:  # of this file; the others may be had
            report(f"{file.name}: {error}" if file.name not in str(error) else error)
            failed.append(error)
        else:
            note(f"{file.name}: {path}")
    if failed:
        if len(files) > 1:
            note(f"{len(files) - len(failed)} of {len(files)} files are here")
        statuses = {exit_status(error) for error in failed}
        raise typer.Exit(max(statuses) if len(failed) == len(files) else FAILED)


@app.command("verify")
def verify(models: ModelNames = None, config: ConfigOption = None) -> None:
    """Compare weight files and folders with their checksums: of the models named, else of all."""
    catalog, folder = _installed(config)
    wanted = models or list(catalog.specs)
    owners = {file.name: spec for spec in catalog.specs.values() for file in spec.weights}
    wrong = False
    for file in _files(catalog, wanted):
        with _bar(file.name) as progress:
            status = _looked_at(folder.verify(file, progress), owners[file.name])
        # Without names, weights that were never downloaded are not an error.
        wrong |= status.state == "wrong" or (status.state == "missing" and bool(models))
        print(f"{file.name}: {_status_text(status)}")
    if wrong:
        raise typer.Exit(FAILED)


def _installed(config: object) -> "tuple[Catalog, WeightFolder]":
    from pathlib import Path

    from paintmq.weights import WeightFolder

    settings = service_settings(config if isinstance(config, Path) else None).config
    manager = installed_plugins(settings.plugins)
    return manager.catalog(), WeightFolder(settings.weights)


def _files(catalog: "Catalog", names: Sequence[str]) -> "list[WeightFile]":
    """Return the weight files that names of models or files stand for, each once."""
    by_file = {file.name: file for spec in catalog.specs.values() for file in spec.weights}
    found: dict[str, WeightFile] = {}
    for name in names:
        if name in by_file:
            found[name] = by_file[name]
        else:
            found.update((file.name, file) for file in catalog.get(name).weights)
    return list(found.values())


@contextmanager
def _bar(name: str) -> "Iterator[Progress]":
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


# ---- as text and as JSON -----------------------------------------------------------------------


def _readiness(spec: "ModelSpec", folder: "WeightFolder") -> str:
    missing = _missing_modules(spec)
    if missing:
        return f"needs {spec.extra or ', '.join(missing)}"
    if not spec.weights:
        return "none needed"
    states = {_looked_at(folder.status(file), spec).state for file in spec.weights}
    return next((s for s in ("missing", "wrong") if s in states), "present")


def _looked_at(status: "WeightStatus", spec: "ModelSpec") -> "WeightStatus":
    """Let the model's plugin look at a file whose checksum says nothing."""
    if spec.weight_problem is None or status.path is None:
        return status
    if status.state not in ("present", "unverifiable"):
        return status
    try:
        problem = str(spec.weight_problem(status.file, status.path))
    except Exception as error:  # noqa: BLE001 -- a plugin's code, and only a look
        note(f"{spec.name}: weight_problem raised {type(error).__name__}: {error}")
        return status
    return evolve(status, state="wrong", problem=problem) if problem else status


def _missing_modules(spec: "ModelSpec") -> list[str]:
    from importlib.util import find_spec

    return [name for name in spec.requires if find_spec(name.partition(".")[0]) is None]


def _status_text(status: "WeightStatus") -> str:
    where = status.path or f"looked for at {', '.join(map(str, status.searched))}"
    return f"{status.state}{': ' + status.problem if status.problem else ''} ({where})"


def _facts(spec: "ModelSpec") -> "Iterator[tuple[str, str]]":
    yield "licence", spec.licence or "not stated"
    yield "task types", ", ".join(spec.task_types)
    yield "runs on", ", ".join(spec.devices)
    yield "effort", spec.effort
    yield "batches", f"up to {spec.max_batch}" if spec.max_batch > 1 else "one task at a time"
    yield "resident", f"{spec.resident_mb} MB once loaded"
    yield "loads in", f"about {spec.load_seconds:g} s"
    for device in spec.devices:
        if estimate := _estimate(spec, device):
            yield f"on {device}", estimate
    missing = _missing_modules(spec)
    if missing:
        remedy = f"pip install '{spec.extra}'" if spec.extra else f"install {', '.join(missing)}"
        yield "missing", f"{', '.join(missing)}: {remedy}"
    elif spec.extra:
        yield "needs", f"{spec.extra}, which is installed"


def _estimate(spec: "ModelSpec", device: "DeviceKind") -> str:
    """Return what a task of one megapixel with default options needs; nothing if none can be."""
    from paintmq.model import Job
    from paintmq.plugin.options import parse_options
    from paintmq.task import PayloadInfo

    inputs = tuple(
        PayloadInfo(name=each.name, size=1, digest="", kind="file", width=1000, height=1000)
        for each in spec.inputs
    )
    try:
        job = Job(device=device, options=parse_options(spec.options, {}), inputs=inputs)
        needs, seconds = spec.needs(job), spec.run_seconds(job)
    except Exception:  # noqa: BLE001 -- a plugin's code; a required option, perhaps
        return ""
    gpu = f", {needs.gpu_memory_mb:,} MB of the GPU" if needs.gpu_memory_mb else ""
    cores = f", {needs.cores} cores" if needs.cores > 1 else ""
    time = f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.2g}"
    return f"{needs.memory_mb:,} MB{gpu}{cores} and about {time} s for a megapixel"


def _option_table(spec: "ModelSpec") -> "Table":
    from paintmq.plugin.options import describe_options

    table = plain_table("option", "takes", "default", "help")
    for each in describe_options(spec.options):
        takes = f"{each.kind}, {each.limits}" if each.limits else each.kind
        default = "required" if each.required else json.dumps(each.default, ensure_ascii=False)
        table.add_row(each.name, takes, default, each.help)
    return table


def _input_table(spec: "ModelSpec") -> "Table":
    table = plain_table("input", "kind", "needed", "help")
    for each in spec.inputs:
        table.add_row(each.name, each.kind, "yes" if each.required else "no", each.summary)
    return table


def _weight_table(spec: "ModelSpec", folder: "WeightFolder") -> "Table":
    table = plain_table("file", "size", "checksum", "licence", "state", "source")
    for file in spec.weights:
        status = _looked_at(folder.status(file), spec)
        size = _size_text(file.size or _size_on_disk(status.path))
        state = _status_text(status)
        source = file.source or file.repository or file.url
        table.add_row(file.name, size, _checksum_text(file), file.licence, state, source)
    return table


def _size_on_disk(path: "Path | None") -> int:
    if path is None:
        return 0
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(each.stat().st_size for each in files if each.is_file())


def _size_text(size: int) -> str:
    """Return the size for people; if upstream names none, it is known once the file is here."""
    if not size:
        return "unknown"
    megabytes = size / MIB
    return f"{megabytes:,.0f} MB" if megabytes >= 10 else f"{megabytes:.1f} MB"


def _checksum_text(file: "WeightFile") -> str:
    """Return the start of the checksum, to tell files apart; `--json` has all of it."""
    if file.repository:
        return "recorded when fetched"
    kind, digest = ("SHA-256", file.sha256) if file.sha256 else ("MD5", file.md5)
    return f"{kind} {digest[:8]}…" if digest else "none known"


def _to_json(spec: "ModelSpec", folder: "WeightFolder") -> "dict[str, Json]":
    from paintmq.plugin.options import describe_options

    return {
        "name": spec.name,
        "summary": spec.summary,
        "licence": spec.licence,
        "task_types": list(spec.task_types),
        "devices": list(spec.devices),
        "effort": spec.effort,
        "max_batch": spec.max_batch,
        "resident_mb": spec.resident_mb,
        "load_seconds": spec.load_seconds,
        "missing_modules": list(_missing_modules(spec)),
        "extra": spec.extra,
        "options": [asdict(each) for each in describe_options(spec.options)],
        "inputs": [asdict(each) for each in spec.inputs],
        "weights": [
            {
                **asdict(file),
                "state": status.state,
                "path": str(status.path) if status.path else None,
                "searched": [str(place) for place in status.searched],
            }
            for file in spec.weights
            for status in (_looked_at(folder.status(file), spec),)
        ],
    }
