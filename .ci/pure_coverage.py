"""Hold the pure modules to full branch coverage: without I/O nothing there is hard to reach.

Reads the coverage data that ``.ci/run`` combined. The pure modules are those of the import contract
in ``pyproject.toml``, so that the two lists cannot drift apart.
"""

import subprocess
import sys
import tomllib
from pathlib import Path


def main() -> int:
    settings = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (pure,) = (each for each in contracts if each["id"] == "pure")
    status = 0
    for module in pure["source_modules"]:
        path = "core/" + module.replace(".", "/")
        files = f"{path}/*" if Path(path).is_dir() else f"{path}.py"
        report = ["coverage", "report", f"--include={files}", "--fail-under=100"]
        if subprocess.run(report, check=False).returncode:
            print(f"{module}: pure, so all of its branches are to be covered")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
