"""The conformance tests, run on a plugin that is installed or lies in a folder.

A test module is written that inherits the contracts for every model and router of the plugin, and
pytest runs it in a process of its own: a plugin that crashes takes nothing else with it.
"""

import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from attrs import frozen

from paintmq.cli.failures import CommandError
from paintmq.errors import PluginError
from paintmq.hookspecs import PROJECT
from paintmq.plugin_discovery import find_plugins
from paintmq.plugin_manager import PluginManager


@frozen
class Candidate:
    """A plugin to check: its manifest, and the folder that must be on ``sys.path`` for it."""

    manifest: str
    folder: Path | None = None


def run_check(plugin: str, *, verbose: bool) -> int:
    """Check the plugin and return pytest's exit status.

    Raises:
        CommandError: there is no such plugin, or it cannot be loaded at all.
    """
    if find_spec("pytest") is None:
        raise CommandError("the conformance tests need pytest: pip install pytest")
    candidates = find_candidates(plugin)
    for folder in {candidate.folder for candidate in candidates if candidate.folder}:
        sys.path.insert(0, str(folder))
    sources = "\n".join(contract_tests(candidate) for candidate in candidates)
    with tempfile.TemporaryDirectory(prefix="paintmq-check-") as root:
        module = Path(root) / "test_conformance.py"
        module.write_text(_HEAD + sources, encoding="utf-8")
        settings = Path(root) / "pytest.ini"  # so that none of a folder above applies
        settings.write_text("[pytest]\nmarkers = slow: starts processes\n", encoding="utf-8")
        settings = Path(root) / "pytest.ini"  # so that none of a folder above applies
        settings.write_text("[pytest]\nmarkers = slow: starts processes\n", encoding="utf-8")
        command = [sys.executable, "-m", "pytest", str(module), f"--rootdir={root}"]
        command += ["-c", str(settings)]
        command += ["-p", "no:cacheprovider", "-rs", "--tb=short", "-v" if verbose else "-q"]
        path = os.pathsep.join(entry for entry in sys.path if entry)
        environment = os.environ | {"PYTHONPATH": path}
        return subprocess.run(command, env=environment, check=False).returncode


def find_candidates(plugin: str) -> Sequence[Candidate]:
    """Return what a path or a name stands for.

    Raises:
        CommandError: nothing.
    """
    path = Path(plugin)
    if path.suffix == ".py" and path.is_file():
        return [Candidate(path.stem, path.resolve().parent)]
    if path.is_dir():
        return _of_project(path.resolve())
    installed = [each for each in find_plugins() if plugin in (each.name, each.distribution)]
    if not installed:
        names = ", ".join(each.name for each in find_plugins())
        raise CommandError(f"{plugin}: no such folder, file or installed plugin ({names})")
    return [Candidate(each.target.partition(":")[0]) for each in installed]


def contract_tests(candidate: Candidate) -> str:
    """Return the source of the tests of one plugin.

    Raises:
        CommandError: it cannot be loaded, or registers neither models nor routers.
    """
    manager = PluginManager()
    try:
        manager.register(import_module(candidate.manifest), candidate.manifest)
    except (ImportError, PluginError) as error:
        raise CommandError(f"{candidate.manifest} cannot be loaded: {error}") from error
    models, routers = list(manager.catalog().specs), list(manager.routers)
    if not models and not routers:
        raise CommandError(f"{candidate.manifest} registers neither models nor routers")
    classes = [("Model", name) for name in models] + [("Router", name) for name in routers]
    return "\n".join(
        f"class Test{kind}_{name.replace('-', '_').replace('.', '_')}({kind}Contract):\n"
        f"    plugin = {candidate.manifest!r}\n"
        f"    {kind.lower()} = {name!r}\n\n"
        for kind, name in classes
    )


_HEAD = "from paintmq.testing import ModelContract, RouterContract\n\n\n"


def _of_project(folder: Path) -> Sequence[Candidate]:
    file = folder / "pyproject.toml"
    if not file.is_file():
        raise CommandError(f"{folder}: it has no pyproject.toml")
    project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
    entries: dict[str, str] = project.get("entry-points", {}).get(PROJECT, {})
    if not entries:
        raise CommandError(
            f'{file}: there is no [project.entry-points.{PROJECT}] with a line like name = "module"'
        )
    source = folder / "src" if (folder / "src").is_dir() else folder
    return [Candidate(target.partition(":")[0], source) for target in entries.values()]
