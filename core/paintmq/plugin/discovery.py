"""Finding plugins: names, distributions and versions from metadata, nothing imported.

The first of three tiers. The scan reads the metadata of every installed distribution, so it is done
once for a given ``sys.path`` and shared.
"""

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from importlib import metadata

from attrs import frozen

from paintmq.config import PluginsConfig
from paintmq.hookspecs import PROJECT

OURS = "paintmq"
"""The distribution whose plugins win when two distributions use one entry-point name."""


@frozen(kw_only=True)
class FoundPlugin:
    """An entry point in the group ``paintmq``, not yet imported."""

    name: str
    target: str
    """``package.module`` or ``package.module:object``."""
    distribution: str
    version: str
    load: Callable[[], object]
    """Import the target. Exceptions of the plugin's code propagate."""


@frozen(kw_only=True)
class Selection:
    """Which of the plugins found may be loaded, and the settings that matched none of them."""

    refused: dict[tuple[str, str], str]
    """(distribution, name) of each plugin that is not to be loaded, and why."""
    warnings: tuple[str, ...]


def find_plugins() -> Sequence[FoundPlugin]:
    """Return every plugin on ``sys.path``: ours first, then by name and distribution."""
    return _scan(tuple(sys.path))


def import_target(target: str) -> object:
    """Import what an entry point with this target would provide. Exceptions of the plugin
    propagate.
    """
    return metadata.EntryPoint(name="", value=target, group=PROJECT).load()


def select(found: Iterable[FoundPlugin], config: PluginsConfig) -> Selection:
    """Decide which plugins may be loaded under the disable and allow lists."""
    plugins = list(found)
    refused: dict[tuple[str, str], str] = {}
    for plugin in plugins:
        if _listed(plugin, config.disable):
            refused[plugin.distribution, plugin.name] = "named in [plugins] disable"
        elif config.allow is not None and not _listed(plugin, config.allow):
            refused[plugin.distribution, plugin.name] = "not named in [plugins] allow"
    lists = (("disable", config.disable), ("allow", config.allow or ()))
    return Selection(
        refused=refused,
        warnings=tuple(
            f"[plugins] {key}: {entry!r} matches no installed plugin or distribution"
            for key, entries in lists
            for entry in entries
            if not any(_listed(plugin, (entry,)) for plugin in plugins)
        ),
    )


def _listed(plugin: FoundPlugin, entries: Iterable[str]) -> bool:
    names = {_normalized(plugin.name), _normalized(plugin.distribution)}
    return any(_normalized(entry) in names for entry in entries)


def _normalized(name: str) -> str:
    # "All comparisons of distribution names MUST be case insensitive, and MUST consider hyphens
    # and underscores to be equivalent." -- PEP 426; with dots: PEP 503
    return re.sub(r"[-_.]+", "-", name).lower()


@lru_cache(maxsize=8)
def _scan(path: tuple[str, ...]) -> Sequence[FoundPlugin]:
    found = [_found(entry) for entry in _entry_points()]
    return sorted(
        found, key=lambda p: (_normalized(p.distribution) != OURS, p.name, p.distribution)
    )


def _entry_points() -> list[metadata.EntryPoint]:
    try:
        return list(metadata.entry_points(group=PROJECT))
    except Exception:  # noqa: BLE001 -- one unreadable entry_points.txt must not hide all others
        return [
            entry
            for distribution in metadata.distributions()
            for entry in _entry_points_of(distribution)
        ]


def _entry_points_of(distribution: metadata.Distribution) -> list[metadata.EntryPoint]:
    try:
        return list(distribution.entry_points.select(group=PROJECT))
    except Exception:  # noqa: BLE001 -- as above: this is the unreadable one
        return []


def _found(entry: metadata.EntryPoint) -> FoundPlugin:
    distribution = entry.dist
    return FoundPlugin(
        name=entry.name,
        target=entry.value,
        distribution=distribution.name if distribution else "unknown",
        version=distribution.version if distribution else "",
        load=entry.load,
    )
