"""A stranger's package: built, installed beside PaintMQ, and used through a real broker."""

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.slow

Run = Callable[..., str]


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


@pytest.fixture
def install(tmp_path: Path) -> Callable[[Path], Path]:
    """Build a project's wheel and install it into a fresh environment; return its Python.

    The environment sees the packages of this one, PaintMQ among them, and needs no network.
    """

    def install(project: Path) -> Path:
        wheels = tmp_path / "wheels"
        pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
        build = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, project)
        run(*pip, *build, cwd=tmp_path)
        (wheel,) = wheels.glob("*.whl")
        environment = tmp_path / "environment"
        run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=tmp_path)
        python = environment / "bin" / "python"
        purelib = "import sysconfig; print(sysconfig.get_path('purelib'))"
        site_packages = Path(run(python, "-c", purelib, cwd=tmp_path).strip())
        # addsitedir() reads the .pth files of an editable installation too; a path alone would not.
        ours = sysconfig.get_path("purelib")
        (site_packages / "beside.pth").write_text(
            f"import site; site.addsitedir({ours!r})\n", encoding="utf-8"
        )
        run(*pip, f"--python={python}", "install", "--no-deps", "--no-index", wheel, cwd=tmp_path)
        return python

    return install


def paintmq(python: Path, *arguments: str, cwd: Path) -> str:
    return run(python, "-c", "from paintmq.cli import main; main()", *arguments, cwd=cwd)


def test_a_model_from_a_wheel_is_found_and_runs_through_a_broker(
    install: Callable[[Path], Path], tmp_path: Path
) -> None:
    python = install(EXAMPLES / "third_party_plugin")

    plugins = json.loads(paintmq(python, "plugins", "--json", cwd=tmp_path))["plugins"]
    (pencil,) = [plugin for plugin in plugins if plugin["name"] == "pencil"]
    assert (pencil["distribution"], pencil["version"]) == ("paintmq-pencil", "1.0.0")
    assert (pencil["state"], pencil["provides"]) == ("ready", ["model pencil"])

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


def test_a_router_from_a_wheel_decides_for_a_broker(
    install: Callable[[Path], Path], tmp_path: Path
) -> None:
    python = install(EXAMPLES / "third_party_router")

    script = """
        import numpy as np
        from paintmq import Task
        from paintmq.config import RouterConfig
        from paintmq.testing.embedded_manager import embedded_manager
        from paintmq_shortest_first import ShortestFirst

        decisions = []
        score = ShortestFirst.score
        def counted(self, *arguments, **keywords):
            decisions.append(self._patience)
            return score(self, *arguments, **keywords)
        ShortestFirst.score = counted

        image = np.full((40, 60, 3), 200, np.uint8)
        mask = np.zeros((40, 60), np.uint8)
        mask[10:20, 10:20] = 255
        router = RouterConfig(name="shortest-first", parameters={"patience": 0.25})
        with embedded_manager(router=router) as manager:
            inputs = {"image": image, "mask": mask}
            tasks = [Task("inpaint", {"model": "opencv"}, inputs) for _ in range(5)]
            handles = [manager.send_task(manager.route_task(task), task) for task in tasks]
            results = [handle.result(timeout=60) for handle in handles]
        print(len(results), set(decisions))
    """
    assert run(python, "-c", dedent(script), cwd=tmp_path).split() == ["5", "{0.25}"]


def test_a_new_plugin_passes_its_own_tests(tmp_path: Path) -> None:
    python = Path(sys.executable)
    project = tmp_path / "project"
    paintmq(python, "new-plugin", "old-photo", "--folder", str(project), cwd=tmp_path)

    summary = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project)

    assert "25 passed" in summary, summary
    assert "failed" not in summary


@pytest.mark.parametrize("project", ["third_party_plugin", "third_party_router"])
def test_the_examples_pass_their_own_tests(project: str, tmp_path: Path) -> None:
    python = Path(sys.executable)

    summary = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=EXAMPLES / project)

    assert " passed" in summary
    assert "failed" not in summary


def test_checking_an_installed_plugin_and_a_folder_runs_the_conformance_tests(
    tmp_path: Path,
) -> None:
    python = Path(sys.executable)

    for plugin in ("opencv", str(EXAMPLES / "third_party_router")):
        summary = paintmq(python, "plugins", "check", plugin, cwd=tmp_path)
        assert " passed" in summary
        assert "failed" not in summary
