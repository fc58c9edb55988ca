"""Plugins for tests of the plugin machinery, written into a folder as pip would install them."""

import os
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

_ROOT = Path(__file__).parents[2]


def python_path(*folders: Path) -> str:
    """Return a PYTHONPATH of these folders and of the harness, for processes that tests start."""
    return os.pathsep.join(map(str, (*folders, _ROOT)))


def write_distribution(
    folder: Path,
    name: str,
    *,
    entry_points: Mapping[str, str],
    files: Mapping[str, str],
    version: str = "1.0",
) -> Path:
    """Write an installed distribution into the folder and return the folder, for ``sys.path``.

    ``entry_points`` are those of the group ``paintmq``, name to target; ``files`` are its sources
    by path, whose common indentation is removed.
    """
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8"
    )
    lines = [f"{entry} = {target}" for entry, target in entry_points.items()]
    (metadata / "entry_points.txt").write_text(
        "\n".join(["[paintmq]", *lines, ""]), encoding="utf-8"
    )
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text), encoding="utf-8")
    return folder
