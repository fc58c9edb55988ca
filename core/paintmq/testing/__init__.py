"""Shipped for plugin authors: contract tests and the few helpers they need.

``ModelContract`` and ``RouterContract`` are what a plugin's own tests inherit; they need pytest.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paintmq.testing.model_contract import ModelContract as ModelContract
    from paintmq.testing.plugin_contract import PluginContract as PluginContract
    from paintmq.testing.router_contract import RouterContract as RouterContract

_HOMES = {
    "ModelContract": "paintmq.testing.model_contract",
    "PluginContract": "paintmq.testing.plugin_contract",
    "RouterContract": "paintmq.testing.router_contract",
}
_REWRITTEN = (*_HOMES.values(), "paintmq.testing.spec_contract")
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a contract when it is used, so that the rest needs no pytest."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import pytest

    # So that a failing assertion shows its values, as in the author's own tests.
    pytest.register_assert_rewrite(*(m for m in _REWRITTEN if m not in sys.modules))
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value
