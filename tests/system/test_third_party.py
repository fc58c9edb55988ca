"""Strangers' packages: built, installed beside PaintMQ, and used through a real broker.

Three are the examples, two are what ``paintmq new-plugin`` writes. All are installed into one fresh
environment, which sees the packages of this one, PaintMQ among them, and needs no network.
"""

import fcntl
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from paintmq.image.files import encode_image
from paintmq.testing.example_inputs import make_picture

EXAMPLES = Path(__file__).parents[2] / "examples"
OURS = ("third_party_plugin", "third_party_router", "third_party_store")
WRITTEN = {"old-photo": "model", "warm-first": "router"}
"""Names of the plugins that are written, and their kinds."""

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command to its end and return what it printed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PAINTMQ_", "PYTHON"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment
        | {"HOME": str(cwd), "XDG_DATA_HOME": str(cwd), "XDG_CONFIG_HOME": str(cwd)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def paintmq(python: Path, *arguments: str | Path, cwd: Path) -> str:
    return run(python, "-c", "from paintmq.cli import main; main()", *arguments, cwd=cwd)


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an ``environment`` and the ``written`` projects; made once for all."""
    base = tmp_path_factory.getbasetemp()
    # Under xdist each process has a folder of its own in one that they share.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "workshop"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            _furnish(folder)
            (folder / "done").touch()
    return folder


def _furnish(folder: Path) -> None:
    projects = [EXAMPLES / name for name in OURS]
    for name, kind in WRITTEN.items():
        projects.append(folder / "written" / name)
        arguments = ("new-plugin", name, "--kind", kind, "--folder", projects[-1])
        paintmq(Path(sys.executable), *arguments, cwd=folder)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    wheels = folder / "wheels"
    build = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels)
    run(*pip, *build, *projects, cwd=folder)
    environment = folder / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=folder)
    python = environment / "bin" / "python"
    purelib = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site_packages = Path(run(python, "-c", purelib, cwd=folder).strip())
    # addsitedir() reads the .pth files of an editable installation too; a path alone would not.
    ours = sysconfig.get_path("purelib")
    (site_packages / "beside.pth").write_text(
        f"import site; site.addsitedir({ours!r})\n", encoding="utf-8"
    )
    install = (f"--python={python}", "install", "--no-deps", "--no-index")
    run(*pip, *install, *wheels.glob("*.whl"), cwd=folder)


@pytest.fixture
def python(workshop: Path) -> Path:
    """Return the interpreter of the environment with the packages."""
    return workshop / "environment" / "bin" / "python"


def test_all_are_found_with_their_distribution_and_what_they_provide(
    python: Path, tmp_path: Path
) -> None:
    plugins = json.loads(paintmq(python, "plugins", "--json", cwd=tmp_path))["plugins"]

    found = {
        (each["name"], each["distribution"], each["version"]): each["provides"]
        for each in plugins
        if each["distribution"] != "paintmq"
    }
    assert all(each["state"] == "ready" for each in plugins)
    assert found == {
        ("pencil", "paintmq-pencil", "1.0.0"): ["model pencil"],
        ("shortest-first", "paintmq-shortest-first", "1.0.0"): ["router shortest-first"],
        ("diary", "paintmq-diary", "1.0.0"): ["store diary"],
        ("old-photo", "paintmq-old-photo", "0.1.0"): ["model old-photo"],
        ("warm-first", "paintmq-warm-first", "0.1.0"): ["router warm-first"],
    }


def test_a_model_from_a_wheel_runs_through_a_broker(python: Path, tmp_path: Path) -> None:
    script = """
        import numpy as np
        from paintmq import Task
        from paintmq.testing.embedded_manager import embedded_manager

        image = np.full((40, 60, 3), 200, np.uint8)
        image[20] = 40
        with embedded_manager() as manager:
            task = Task("draw", {"model": "pencil", "darkness": 2}, {"image": image})
            result = manager.send_task(manager.route_task(task), task).result(timeout=60)
        print(result.image.shape, result.image[20].max() < 100, result.image[0].min(), result.queue)
    """
    answer = run(python, "-c", dedent(script), cwd=tmp_path)
    assert answer.split() == ["(40,", "60,", "3)", "True", "255", "cpu-light"]


def test_a_model_just_written_restores_a_file_by_command(python: Path, tmp_path: Path) -> None:
    picture = make_picture((40, 60), seed=1)
    (tmp_path / "photo.png").write_bytes(encode_image(picture, "png"))
    # Port 1 is nobody's: a broker that happens to run on this machine is not to be found.
    (tmp_path / "paintmq.toml").write_text("[broker]\nport = 1\n", encoding="utf-8")

    paintmq(
        python, "run", "old-photo", "photo.png", "-o", "toned.png", "-O", "strength=1", cwd=tmp_path
    )

    from PIL import Image

    with Image.open(tmp_path / "toned.png") as toned:
        red, green, blue = np.asarray(toned).reshape(-1, 3).mean(axis=0)
    assert red > green > blue


@pytest.mark.parametrize(
    ("target", "name", "parameter", "value"),
    [
        ("paintmq_shortest_first:ShortestFirst", "shortest-first", "patience", 0.25),
        ("paintmq_warm_first.router:WarmFirst", "warm-first", "warm_seconds", 7.5),
    ],
)
def test_a_router_from_a_wheel_decides_for_a_broker(
    python: Path, tmp_path: Path, target: str, name: str, parameter: str, value: float
) -> None:
    script = f"""
        import numpy as np
        from paintmq import Task
        from paintmq.config import RouterConfig
        from paintmq.plugin.discovery import import_target
        from paintmq.testing.embedded_manager import embedded_manager

        decisions = []
        router_class = import_target({target!r})
        score = router_class.score
        def counted(self, *arguments, **keywords):
            decisions.append(self._{parameter})
            return score(self, *arguments, **keywords)
        router_class.score = counted

        image = np.full((40, 60, 3), 200, np.uint8)
        mask = np.zeros((40, 60), np.uint8)
        mask[10:20, 10:20] = 255
        router = RouterConfig(name={name!r}, parameters={{{parameter!r}: {value}}})
        with embedded_manager(router=router) as manager:
            inputs = {{"image": image, "mask": mask}}
            tasks = [Task("inpaint", {{"model": "opencv"}}, inputs) for _ in range(5)]
            handles = [manager.send_task(manager.route_task(task), task) for task in tasks]
            results = [handle.result(timeout=60) for handle in handles]
        print(len(results), set(decisions))
    """
    answer = run(python, "-c", dedent(script), cwd=tmp_path)
    assert answer.split() == ["5", f"{{{value}}}"]


@pytest.mark.parametrize("project", [*OURS, *WRITTEN])
def test_each_passes_its_own_tests(project: str, python: Path, workshop: Path) -> None:
    folder = workshop / "written" / project if project in WRITTEN else EXAMPLES / project

    summary = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=folder)

    assert " passed" in summary
    assert "failed" not in summary


def test_checking_an_installed_plugin_and_a_folder_runs_the_conformance_tests(
    python: Path, tmp_path: Path
) -> None:
    for plugin in ("process", EXAMPLES / "third_party_router"):
        summary = paintmq(python, "plugins", "check", plugin, cwd=tmp_path)
        assert "  ok       the manifest is light" in summary
        assert "FAILED" not in summary
