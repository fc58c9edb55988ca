"""What importing a manifest costs, in modules: seconds would depend on the machine."""

import json
import os
import subprocess
import sys

from attrs import frozen

from paintmq.plugin_manager import HEAVY_MODULES

MANIFEST_MODULES = 25
"""So many modules a manifest may import beside its own package and PaintMQ. attrs and a bit of the
standard library fit; one of numpy, pillow or pydantic does not."""

_SCRIPT = """
import importlib, json, sys
import paintmq.catalog, paintmq.hookspecs, paintmq.model, paintmq.options
before = set(sys.modules)
importlib.import_module(sys.argv[1])
json.dump(sorted(set(sys.modules) - before), sys.stdout)
"""


@frozen
class ManifestCost:
    """What a fresh interpreter had imported after the manifest that it had not before."""

    manifest: str
    modules: tuple[str, ...]
    """Neither PaintMQ's nor the manifest's own."""

    @property
    def heavy(self) -> tuple[str, ...]:
        return tuple(name for name in HEAVY_MODULES if name in self.modules)

    @property
    def fault(self) -> str:
        """What its author should mend; empty when there is nothing."""
        if self.heavy:
            return (
                f"manifest {self.manifest} imports {', '.join(self.heavy)}; every command would"
                " wait for that: import it in the implementation"
            )
        if len(self.modules) > MANIFEST_MODULES:
            packages = sorted({name.partition(".")[0] for name in self.modules})
            return (
                f"manifest {self.manifest} imports {len(self.modules)} modules of"
                f" {', '.join(packages)}; {MANIFEST_MODULES} are allowed"
            )
        return ""


def measure_manifest(manifest: str) -> ManifestCost:
    """Import the manifest in a fresh interpreter.

    Raises:
        ImportError: it cannot be imported; the text holds the traceback.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, manifest],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ImportError(f"manifest {manifest} cannot be imported:\n{done.stderr}")
    own = (manifest.partition(".")[0], "paintmq")
    imported = json.loads(done.stdout.splitlines()[-1])
    return ManifestCost(
        manifest, tuple(name for name in imported if name.partition(".")[0] not in own)
    )
