"""What loading a manifest costs, in a fresh interpreter: modules imported, and processor time."""

import json
import os
import subprocess
import sys

from attrs import frozen

from paintmq.plugin.manager import HEAVY_MODULES

MANIFEST_MODULES = 25
"""Modules a manifest may import besides its own package and PaintMQ. attrs and a bit of the
standard library fit; one of numpy, pillow or pydantic does not."""

MANIFEST_SECONDS = 0.020
"""Processor time to import it and to call its registering hooks."""

ATTEMPTS = 8
"""Measurements at most; the best counts, since another process can only make one worse."""

_SCRIPT = """
import json, sys, time
import paintmq.hookspecs, paintmq.launching, paintmq.model
import paintmq.plugin.catalog, paintmq.plugin.options
from paintmq.plugin.discovery import import_target
from paintmq.plugin.manager import PluginManager
manager, before = PluginManager(), set(sys.modules)
started = time.process_time()
manager.register(import_target(sys.argv[1]), sys.argv[1])
seconds = time.process_time() - started
print("cost", json.dumps([seconds, sorted(set(sys.modules) - before)]))
"""


@frozen
class ManifestCost:
    """What a fresh interpreter spent on a manifest once PaintMQ was there."""

    manifest: str
    modules: tuple[str, ...]
    """Those it imported that are neither PaintMQ's nor the manifest's own."""
    seconds: float
    """Of processor time, in the best of some attempts."""

    @property
    def heavy(self) -> tuple[str, ...]:
        return tuple(name for name in HEAVY_MODULES if name in self.modules)

    @property
    def fault(self) -> str:
        """What its author should fix; empty if nothing."""
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
        if self.seconds > MANIFEST_SECONDS:
            return (
                f"manifest {self.manifest} takes {self.seconds * 1000:.0f} ms to load;"
                f" {MANIFEST_SECONDS * 1000:.0f} are allowed: do less when it is imported"
            )
        return ""


def measure_manifest(manifest: str) -> ManifestCost:
    """Load what an entry point names in fresh interpreters, until one is within the budget.

    Raises:
        ImportError: it cannot be loaded; the text holds the traceback.
    """
    best, modules = _measure(manifest)
    own = (manifest.partition(":")[0].partition(".")[0], "paintmq")
    others = tuple(name for name in modules if name.partition(".")[0] not in own)
    if ManifestCost(manifest, others, 0.0).fault:
        return ManifestCost(manifest, others, best)
    for _ in range(ATTEMPTS - 1):
        if best <= MANIFEST_SECONDS:
            break
        best = min(best, _measure(manifest)[0])
    return ManifestCost(manifest, others, best)


def _measure(manifest: str) -> tuple[float, list[str]]:
    # A coverage tool of the caller must not be measured too.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    environment["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-P", "-c", _SCRIPT, manifest],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ImportError(f"manifest {manifest} cannot be loaded:\n{done.stderr}")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("cost ")]
    seconds, modules = json.loads(line.removeprefix("cost "))
    return float(seconds), list(modules)
