"""The outcome of loading one plugin: for ``paintmq plugins`` and for logs."""

from typing import Literal, TypeAlias

from attrs import frozen

from paintmq.task import Json

PluginState: TypeAlias = Literal["ready", "disabled", "set aside"]


@frozen(kw_only=True)
class PluginReport:
    """One plugin as it was found, and how far loading it got."""

    name: str
    """Name of the entry point, or the name it was registered by."""
    distribution: str = ""
    """The distribution it comes from; empty when it was registered by hand."""
    version: str = ""
    state: PluginState = "ready"
    reason: str = ""
    """Why it is disabled or set aside."""
    warnings: tuple[str, ...] = ()
    """What its author should fix; the plugin works nevertheless."""
    provides: tuple[str, ...] = ()
    """``model lama``, ``router least-loaded``, ``events`` … in the order of registration."""
    load_seconds: float = 0.0
    """Time to import the manifest and to call its registering hooks."""

    @property
    def title(self) -> str:
        """Name, distribution and version, for messages."""
        if not self.distribution:
            return self.name
        return f"{self.name} ({self.distribution} {self.version})"

    def to_json(self) -> dict[str, Json]:
        return {
            "name": self.name,
            "distribution": self.distribution,
            "version": self.version,
            "state": self.state,
            "reason": self.reason,
            "warnings": list(self.warnings),
            "provides": list(self.provides),
            "load_seconds": round(self.load_seconds, 6),
        }
