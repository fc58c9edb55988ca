"""The conformance tests, run on a plugin that is installed or lies in a folder.

A test module is written that inherits the contracts for every model and router of the plugin, and
pytest runs it in a process of its own: a plugin that crashes takes nothing else with it.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from attrs import frozen

from paintmq.cli.failures import FAILED, CommandError
from paintmq.config import PluginsConfig
from paintmq.hookspecs import PROJECT
from paintmq.interpreter import interpreter
from paintmq.plugin.discovery import find_plugins, import_target
from paintmq.plugin.guarded_call import PluginThread, describe
from paintmq.plugin.manager import PluginManager


@frozen
class Candidate:
    """A plugin to check: what its entry point names, and the folder that it must be found in."""

    manifest: str
    folder: Path | None = None


def run_check(plugin: str, *, verbose: bool) -> int:
    """Check the plugin, print one line per rule, and return the command's exit status.

    Raises:
        CommandError: there is no such plugin, or it cannot be loaded at all.
    """
    if find_spec("pytest") is None:
        raise CommandError("the conformance tests need pytest: pip install pytest")
    from paintmq.cli import check_report

    candidates = find_candidates(plugin)
    for folder in {candidate.folder for candidate in candidates if candidate.folder}:
        sys.path.insert(0, str(folder))
    tests = [each for candidate in candidates for each in contract_tests(candidate)]
    with tempfile.TemporaryDirectory(prefix="paintmq-check-") as root:
        module = Path(root) / "test_conformance.py"
        module.write_text(_HEAD + "\n\n".join(each.source for each in tests), encoding="utf-8")
        settings = Path(root) / "pytest.ini"  # so that none of a folder above applies
        settings.write_text("[pytest]\nmarkers = slow: starts processes\n", encoding="utf-8")
        command = [*interpreter(), "-m", "pytest", str(module), f"--rootdir={root}"]
        command += ["-c", str(settings), "-p", "no:cacheprovider", "-p", check_report.__name__]
        variables = {
            "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
            check_report.TITLES_VARIABLE: json.dumps({each.name: each.title for each in tests}),
            check_report.VERBOSE_VARIABLE: "1" if verbose else "",
        }
        # Whatever way pytest itself may fail, the rules were not kept.
        done = subprocess.run(command, env=os.environ | variables, check=False)
        return FAILED if done.returncode else 0


def find_candidates(plugin: str) -> Sequence[Candidate]:
    """Return the plugins that a path or a name stands for.

    Raises:
        CommandError: there are none.
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
    return [Candidate(each.target) for each in installed]


@frozen
class ContractTest:
    """A test class for one model or router."""

    name: str
    title: str
    source: str


def contract_tests(candidate: Candidate) -> Sequence[ContractTest]:
    """Return the tests of one plugin: a class for each model and router it registers.

    A plugin with neither gets the tests that hold for every plugin.

    Raises:
        CommandError: it cannot be loaded.
    """
    manager, thread = PluginManager(), PluginThread(PluginsConfig().load_limit)
    try:
        plugin = thread.call(lambda: import_target(candidate.manifest))
        manager.register(plugin, candidate.manifest)
    except Exception as error:  # a plugin's code: whatever it raises, this is the place to say so
        raise CommandError(f"{candidate.manifest} cannot be loaded: {describe(error)}") from error
    finally:
        thread.close()
    models, routers = list(manager.catalog().specs), list(manager.routers)
    named = [("Model", name) for name in models] + [("Router", name) for name in routers]
    tests = [_contract_test(candidate.manifest, kind, name) for kind, name in named]
    return tests or [_plugin_test(candidate.manifest)]


def _contract_test(manifest: str, kind: str, name: str) -> ContractTest:
    class_name = _class_name(kind, name)
    source = (
        f"class {class_name}({kind}Contract):\n"
        f"    plugin = {manifest!r}\n"
        f"    {kind.lower()} = {name!r}\n"
    )
    return ContractTest(class_name, f"{kind.lower()} {name} ({manifest})", source)


def _plugin_test(manifest: str) -> ContractTest:
    name = _class_name("Plugin", manifest)
    source = f"class {name}(PluginContract):\n    plugin = {manifest!r}\n"
    return ContractTest(name, f"plugin {manifest}", source)


def _class_name(kind: str, name: str) -> str:
    return f"Test{kind}_{re.sub(r'[^A-Za-z0-9]', '_', name)}"


_HEAD = "from paintmq.testing import ModelContract, PluginContract, RouterContract\n\n\n"


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
    return [Candidate(target, source) for target in entries.values()]
