"""``paintmq run``: images in, images out, with nothing running beforehand."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paintmq.cli.common_options import (
    ConfigOption,
    ConnectOption,
    chosen_endpoint,
    installed_plugins,
)
from paintmq.cli.failures import CommandError
from paintmq.task import TaskType

if TYPE_CHECKING:
    from paintmq.cli.image_jobs import ImageJob
    from paintmq.client.task import Task
    from paintmq.model import ModelSpec


def add_to(app: typer.Typer) -> None:
    app.command("run")(run)


def run(
    model: Annotated[str, typer.Argument(help="An installed model; see: paintmq plugins")],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Image files, or folders of them.")
    ],
    mask: Annotated[
        Path | None,
        typer.Option("--mask", "-m", help="White where to fill; or a folder of masks, by name."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File for the result; folder for several."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option", "-O", metavar="KEY=VALUE", help="Option of the model; repeatable."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    priority: Annotated[int, typer.Option(help="0 to 9, higher sooner.")] = 0,
    run_limit: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="What one image may take.")
    ] = None,
    previews: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder for rough pictures on the way, of models that give any."
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only errors.")] = False,
    connect: ConnectOption = None,
    config: ConfigOption = None,
) -> None:
    """Run a model on images: with a broker that runs, else with one for the occasion.

    Example: paintmq run opencv photo.png --mask scratches.png -o restored.png
    """
    from paintmq.cli.image_jobs import plan_jobs
    from paintmq.cli.image_run import ImageRun
    from paintmq.cli.log_setup import log_to_stderr
    from paintmq.cli.model_options import installed_spec, parse_assignments
    from paintmq.cli.preview_files import PreviewFolder
    from paintmq.cli.run_session import open_session
    from paintmq.cli.signals import StopFlag
    from paintmq.client.task import Task
    from paintmq.settings.file import load_config

    log_to_stderr(default="error")
    settings = load_config(config)
    endpoint = None if connect is None else chosen_endpoint(connect, config)
    plugins = installed_plugins(settings.plugins)
    if endpoint is None:
        plugins.catalog().get(model)  # says what is installed, if this is not
    spec = installed_spec(model, plugins)
    options = parse_assignments(option or [], spec)
    _check_mask(model, spec, mask)

    def make_task(job: "ImageJob") -> "Task":
        return Task(
            task_type=_task_type(spec),
            config={**options, "model": model, "device": device},
            inputs={"image": job.image} | ({"mask": job.mask} if job.mask else {}),
            priority=priority,
            run_limit=run_limit,
            strict=True,
            cancel_on_disconnect=True,
        )

    jobs = plan_jobs(images, mask=mask, output=output, model=model, limits=settings.limits)
    if spec is not None:
        plugins.catalog().check(make_task(jobs[0]).prepare().request)
    previews_to = PreviewFolder(previews) if previews is not None else None
    if previews_to is not None:
        previews_to.prepare()
    with StopFlag() as stop, open_session(endpoint, settings, config, plugins) as session:
        status = ImageRun(jobs, make_task, model, quiet, previews_to, stop).through(session)
    raise typer.Exit(status)


def _task_type(spec: "ModelSpec | None") -> str:
    """Return a type the model does; ``plugin`` suits one that is only known elsewhere."""
    return spec.task_types[0] if spec is not None else TaskType.PLUGIN


def _check_mask(model: str, spec: "ModelSpec | None", mask: Path | None) -> None:
    """Ask for a mask before anything is started, rather than after a model was loaded."""
    if spec is None or mask is not None:
        return
    if any(each.kind == "mask" and each.required for each in spec.inputs):
        raise CommandError(f"model {model} needs a mask: add --mask FILE, white where to fill")
