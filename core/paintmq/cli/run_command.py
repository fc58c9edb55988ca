"""``paintmq run``: images in, images out, with nothing running beforehand."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paintmq.cli.common_options import (
    ConfigOption,
    ConnectOption,
    chosen_endpoint,
    installed_plugins,
    tell_settings_file,
)
from paintmq.cli.failures import CommandError, note
from paintmq.task import TaskType

if TYPE_CHECKING:
    from paintmq.cli.existing_files import Existing
    from paintmq.cli.image_jobs import GivenInput, Plan
    from paintmq.cli.job_inputs import InputReader, LoadedJob
    from paintmq.cli.result_places import Wishes
    from paintmq.client.task import Task
    from paintmq.model import ModelSpec
    from paintmq.plugin.catalog import CheckedTask


def _named(text: str) -> str:
    """Return the text; an empty one, as an unset variable of a shell makes it, is no folder."""
    if not text:
        raise typer.BadParameter("is empty: name a file or folder, or . for the current folder")
    return text


def _named_path(text: str) -> Path:
    return Path(_named(text))


def add_to(app: typer.Typer) -> None:
    app.command("run")(run)


def run(
    model: Annotated[str, typer.Argument(help="An installed model; see: paintmq models list")],
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE...",
            help="Image files, folders of them, or - for stdin.",
            parser=_named_path,
        ),
    ],
    mask: Annotated[
        Path | None,
        typer.Option(
            *("--mask", "-m"),
            metavar="FILE",
            help="White where to fill; or a folder of masks, by name.",
            parser=_named_path,
        ),
    ] = None,
    more_inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", "-i", metavar="NAME=FILE", help="Another input, or a folder; repeatable."
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            *("--output", "-o"),
            metavar="FILE",
            help="File for the result, folder for several, - for stdout.",
            parser=_named,
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option", "-O", metavar="KEY=VALUE", help="Option of the model; repeatable."
        ),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Sub-folders too; -o keeps the tree.")
    ] = False,
    format: Annotated[
        str, typer.Option("--format", help="Of the results: png, jpg, webp, tiff or same.")
    ] = "",
    quality: Annotated[
        int | None, typer.Option(min=1, max=100, help="Of jpg and webp results.")
    ] = None,
    page: Annotated[
        int | None, typer.Option(min=1, help="Which one of files that hold several pictures.")
    ] = None,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave alone what has a result: to go on.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace also files that are no pictures.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="All or nothing: check every image first.")
    ] = False,
    make_folders: Annotated[
        bool, typer.Option("--make-folders", help="Make all missing folders of -o.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    queue: Annotated[str, typer.Option(help="The queue to use; else the router chooses.")] = "",
    tenant: Annotated[str, typer.Option(help="Whose tasks these are: tenants share fairly.")] = "",
    priority: Annotated[int, typer.Option(help="0 to 9, higher sooner.")] = 0,
    deadline: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="An image not begun by then is given up."),
    ] = None,
    run_limit: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="What one image may take.")
    ] = None,
    previews: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for rough pictures on the way, of models that give any.",
            parser=_named_path,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only errors.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show what the model prints and logs.")
    ] = False,
    connect: ConnectOption = None,
    config: ConfigOption = None,
) -> None:
    """Run a model on images: with a broker that runs, else with one for the occasion.

    A folder is a batch: what can be done is done, and every picture that cannot is named. Exit
    status 1: some could not; 2: none could.

    Example: paintmq run opencv photo.png --mask scratches.png -o restored.png
    """
    from paintmq.cli.image_jobs import plan_jobs
    from paintmq.cli.image_run import ImageRun
    from paintmq.cli.job_inputs import InputReader
    from paintmq.cli.log_setup import log_to_stderr
    from paintmq.cli.model_options import installed_spec, parse_assignments
    from paintmq.cli.preview_files import PreviewFolder
    from paintmq.cli.result_files import ResultWriter
    from paintmq.cli.result_places import Wishes, is_named
    from paintmq.cli.run_log import shown_log
    from paintmq.cli.run_session import open_session
    from paintmq.cli.signals import StopFlag
    from paintmq.client.task import Task
    from paintmq.process.garbage_collector import calm_collector
    from paintmq.settings.file import load_settings

    log_to_stderr(default="error")
    settings = load_settings(config)
    tell_settings_file(settings)
    endpoint = None if connect is None else chosen_endpoint(connect, config)
    plugins = installed_plugins(settings.config.plugins)
    catalog = plugins.catalog()
    if endpoint is None:
        catalog.get(model)  # says what is installed, if this is not
    spec = installed_spec(model, plugins)
    options = parse_assignments(option or [], spec)
    others = given_inputs(mask, more_inputs or [], model, spec)
    wishes = Wishes(
        output=None if output is None else Path(output),
        to_folder=output is not None and output.endswith("/"),
        format=format.lower(),
        model=model,
        make_folders=make_folders,
        ask=_asked,
    )
    _check_quality(quality, wishes)

    def make_task(loaded: "LoadedJob") -> "Task":
        return Task(
            task_type=_task_type(spec),
            config={**options, "model": model, "device": device},
            inputs=loaded.inputs,
            priority=priority,
            tenant=tenant,
            deadline=deadline,
            run_limit=run_limit,
            strict=True,
            cancel_on_disconnect=True,
        )

    with calm_collector():  # many small objects, and none of them garbage
        plan = plan_jobs(
            images,
            others=others,
            wishes=wishes,
            recursive=recursive,
            models=[*catalog.specs, model],
            strict=strict,
        )
    kinds = {each.name: each.kind for each in spec.inputs} if spec is not None else {}
    reader = InputReader(settings.config.limits, kinds, page)
    shared = {each.name: each.place for each in others if each.place and not each.is_paired}
    if strict:
        check_all(plan, reader, shared)
    previews_to = PreviewFolder(previews) if previews is not None else None
    if previews_to is not None:
        previews_to.prepare()
    with StopFlag() as stop:
        work = ImageRun(
            plan=plan,
            make_task=make_task,
            reader=reader,
            writer=ResultWriter(quality=quality, names_fixed=is_named(wishes)),
            model=model,
            quiet=quiet,
            existing=_existing(skip=skip_existing, overwrite=overwrite),
            strict=strict,
            shared=shared,
            previews=previews_to,
            stop=stop,
        )
        first = work.first()
        if first is None:
            raise typer.Exit(work.finish())
        if spec is not None:
            checked = catalog.check(first.prepare(queue=queue).request)
            if not quiet and (text := estimate_note(checked)):
                note(text)
        with (
            open_session(endpoint, settings, config, plugins, spec=spec, queue=queue) as session,
            shown_log(session, wanted=verbose) as heard,
        ):
            status = work.through(heard)
    raise typer.Exit(status)


def given_inputs(
    mask: Path | None, more: Sequence[str], model: str, spec: "ModelSpec | None"
) -> "list[GivenInput]":
    """Return the inputs beside the picture, as ``--mask`` and ``--input NAME=FILE`` give them.

    A mask that the model needs and that was not named is looked for beside the pictures.

    Raises:
        CommandError: one is given twice, unknown to the model, or missing.
    """
    from paintmq.cli.image_jobs import GivenInput

    places: dict[str, Path] = {} if mask is None else {"mask": mask}
    for text in more:
        name, equals, path = text.partition("=")
        if not equals or not name or not path:
            raise CommandError(f"--input {text}: write NAME=FILE, such as reference=photo.png")
        if name in places:
            raise CommandError(f"--input {name} is given twice")
        if name == "image":
            raise CommandError("--input image: the images are the command's arguments")
        places[name] = Path(path)
    known = {each.name: each for each in spec.inputs} if spec is not None else {}
    for name in places:
        if spec is not None and name not in known:
            names = ", ".join(each for each in known if each != "image") or "none but the image"
            raise CommandError(f"model {model} has no input {name!r}; its inputs: {names}")
    given = [
        GivenInput(name=name, place=place, any_ending=name in known and known[name].kind == "data")
        for name, place in places.items()
    ]
    for name, each in known.items():
        if each.required and name not in places and name != "image":
            if each.kind != "mask":
                raise CommandError(f"model {model} needs input {name!r}: add --input {name}=FILE")
            remedy = f"--mask FILE names one, white where to fill, and model {model} needs it"
            given.append(GivenInput(name=name, place=None, remedy=remedy))
    return given


def check_all(plan: "Plan", reader: "InputReader", shared: Mapping[str, Path]) -> None:
    """Look at every picture before anything is done.

    Raises:
        CommandError: what is wrong with each that cannot be done, a line each.
    """
    from paintmq.cli.picture_files import Fault

    faults = []
    for job in plan.jobs:
        try:
            reader.load(job, shared=shared)
        except CommandError as error:
            faults.append(Fault(job.image, str(error)))
    if faults:
        raise CommandError("\n".join([*map(str, faults), "nothing was done: --strict"]))


def estimate_note(checked: "CheckedTask") -> str:
    """Return a warning if the first picture should take longer than it may; else nothing."""
    try:
        seconds = min(checked.spec.run_seconds(job) for job in checked.jobs.values())
    except Exception:  # noqa: BLE001 -- a plugin's code, and only an estimate
        return ""
    if not seconds > checked.run_limit:
        return ""
    kinds = " or ".join(checked.jobs)
    return (
        f"note: about {seconds:,.0f} s on {kinds}, but an image may take {checked.run_limit:,.0f}:"
        f" --run-limit {2 * seconds:.0f} allows it, or use a smaller image"
    )


def _task_type(spec: "ModelSpec | None") -> str:
    """Return a type the model does; ``plugin`` suits one that is only known elsewhere."""
    return spec.task_types[0] if spec is not None else TaskType.PLUGIN


def _existing(*, skip: bool, overwrite: bool) -> "Existing":
    if skip and overwrite:
        raise CommandError("--skip-existing and --overwrite contradict each other: leave out one")
    return "skip" if skip else "overwrite" if overwrite else "replace"


def _check_quality(quality: int | None, wishes: "Wishes") -> None:
    file = wishes.output if wishes.output is not None and not wishes.to_folder else None
    named = wishes.format or (file.suffix.lower()[1:] if file is not None else "")
    if quality is not None and named in ("png", "tif", "tiff"):
        raise CommandError(f"--quality is for jpg and webp; {named} loses nothing")
    if quality is not None and not named:
        raise CommandError("--quality is for jpg and webp: add --format jpg, webp or same")


def _asked(question: str) -> bool:
    """Ask at a terminal; elsewhere the answer is no."""
    import sys

    if sys.stdin is None or sys.stderr is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    return typer.confirm(question, err=True)
