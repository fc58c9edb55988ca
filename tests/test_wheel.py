"""The wheel holds the three packages and nothing of the project's own tools."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[1]
SHIPPED_BROUGHT_BY_WHO_NEEDS_IT = {
    "__init__.py",
    "embedded_manager.py",
    "example_inputs.py",
    "example_tasks.py",
    "manifest_budget.py",
    "model_bench.py",
    "model_contract.py",
    "plain_router.py",
    "plugin_contract.py",
    "router_contract.py",
    "scripted_context.py",
    "spec_contract.py",
    "store_contract.py",
}
"""Contracts of plugins, and what these need: ``paintmq.testing`` is for authors of plugins."""


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> list[PurePosixPath]:
    """Return the paths inside the wheel that the build backend makes of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return [PurePosixPath(name) for name in archive.namelist()]


def test_the_wheel_holds_three_packages_at_its_top(shipped: list[PurePosixPath]) -> None:
    tops = {path.parts[0] for path in shipped}
    information = {top for top in tops if top.endswith(".dist-info")}

    assert tops - information == {"paintmq", "paintmq_plugins", "paintmq_routers"}
    assert len(information) == 1


def test_the_wheel_holds_no_test_tools_of_our_own(shipped: list[PurePosixPath]) -> None:
    testing = {path.name for path in shipped if path.parent == PurePosixPath("paintmq/testing")}
    tests = [
        path
        for path in shipped
        if path.name.startswith("test_") or {"tests", "harness"} & {*path.parts}
    ]

    assert testing == SHIPPED_BROUGHT_BY_WHO_NEEDS_IT
    # What `paintmq new-plugin` writes has tests for its author.
    assert all("plugin_template" in path.parts for path in tests), tests


def test_the_wheel_brings_its_licence_and_its_types(shipped: list[PurePosixPath]) -> None:
    names = {str(path) for path in shipped}

    assert "paintmq/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_what_is_imported_is_declared() -> None:
    """What happens to be there, as a dependency of another, need not be in a plain install."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    required = [*project["dependencies"], *(each for extra in extras for each in extra)]
    declared = {re.split(r"[\[><= ]", each)[0].lower() for each in required}
    missing = {
        f"{name} in {path.relative_to(ROOT)}"
        for source in ("core", "plugins", "routers")
        for path in (ROOT / source).rglob("*.py")
        if "plugin_template" not in path.parts
        for name in imported_from_elsewhere(path)
        if DISTRIBUTIONS.get(name, name.replace("_", "-").lower()) not in declared
    }

    assert not missing


DISTRIBUTIONS = {
    "PIL": "pillow",
    "attr": "attrs",
    "cv2": "opencv-python-headless",
    "opentelemetry": "opentelemetry-sdk",
    "pynvml": "nvidia-ml-py",
    "skimage": "scikit-image",
    "socketio": "python-socketio",
    "zmq": "pyzmq",
}
"""Of modules that are called otherwise than what brings them."""
BROUGHT_BY_WHO_NEEDS_IT = {"pytest", "hypothesis", "onnx"}
"""For tests that inherit the contracts of ``paintmq.testing``; for generated weights."""


def imported_from_elsewhere(path: Path) -> Iterator[str]:
    """Iterate over the modules that a file imports of neither this project nor the library."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            top = name.partition(".")[0]
            if (
                top not in sys.stdlib_module_names | BROUGHT_BY_WHO_NEEDS_IT
                and "paintmq" not in top
            ):
                yield top
