"""What plugins/README.md and routers/README.md show works as it stands there."""

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from paintmq.config import NodeConfig, RouterConfig, WeightsConfig
from paintmq.launching import NodeOrder
from paintmq.plugin.manager import PluginManager
from paintmq.testing.example_inputs import make_picture
from paintmq.testing.model_bench import ModelBench
from paintmq.testing.scripted_context import ScriptedContext
from paintmq.weights import WeightFolder

ROOT = Path(__file__).parents[2]


def block(page: str, title: str) -> str:
    """Return the code block of a page that opens with a comment naming this file."""
    text = (ROOT / page).read_text("utf-8")
    (found,) = re.findall(rf"```\w+\n# {re.escape(title)}\n(.*?)```", text, re.DOTALL)
    return str(found)


def lines_of_code(source: str) -> int:
    return sum(1 for line in source.splitlines() if line.strip())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("paintmq_negative", "paintmq_warm_first", "paintmq_slurm"):
        sys.modules.pop(name, None)


def test_the_model_in_20_lines_works(folder: Path) -> None:
    source = block("plugins/README.md", "paintmq_negative.py")
    project = tomllib.loads(block("plugins/README.md", "pyproject.toml"))["project"]
    (folder / "paintmq_negative.py").write_text(source, encoding="utf-8")
    assert lines_of_code(source) <= 20

    plugins = PluginManager()
    plugins.register(import_module(project["entry-points"]["paintmq"]["negative"]), "negative")
    bench = ModelBench(
        spec=plugins.catalog().get("negative"), weights=WeightFolder(WeightsConfig())
    )
    picture = make_picture((10, 20), seed=1)
    context = ScriptedContext(scratch=folder)
    outputs = bench.run(bench.load(), bench.request({}, {"image": picture}), context)

    assert np.array_equal(np.asarray(outputs["image"]), 255 - picture)


def test_the_router_in_20_lines_works(folder: Path) -> None:
    source = block("routers/README.md", "paintmq_warm_first.py")
    project = tomllib.loads(block("routers/README.md", "pyproject.toml"))["project"]
    settings = tomllib.loads(block("routers/README.md", "paintmq.toml"))["router"]
    (folder / "paintmq_warm_first.py").write_text(source, encoding="utf-8")
    assert lines_of_code(source) <= 20

    plugins = PluginManager()
    plugins.register(import_module(project["entry-points"]["paintmq"]["warm-first"]), "warm-first")
    router = plugins.make_router(RouterConfig(**settings))

    assert vars(router) == {"bonus": 30.0}


def test_the_launcher_of_the_page_starts_what_it_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "paintmq_slurm.py").write_text(
        block("plugins/README.md", "paintmq_slurm.py"), encoding="utf-8"
    )
    srun = folder / "srun"
    srun.write_text('#!/bin/sh\necho "$@"\n', encoding="utf-8")
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    settings = tomllib.loads(block("plugins/README.md", "paintmq.toml"))["node"]
    plugins = PluginManager()
    plugins.register(import_module("paintmq_slurm"), "slurm")

    launcher = plugins.make_launcher(NodeConfig(**settings))
    order = NodeOrder(name="slurm-0", number=0, arguments=("node",), environment={})
    ending = launcher.launch(order).wait(45.0)

    assert ending is not None
    assert ending.reason.endswith("--job-name=slurm-0 --partition=a100 paintmq node")
