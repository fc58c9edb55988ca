"""Runs the same traffic under several routers."""

from collections.abc import Mapping

from paintmq.config import RouterConfig
from paintmq.fleet_simulation.engine_policy import EnginePolicy
from paintmq.fleet_simulation.fleet import FleetSimulation, Outcome, Policy
from paintmq.fleet_simulation.rivals import RIVALS
from paintmq.fleet_simulation.summary import Summary, summarise
from paintmq.fleet_simulation.traffic import Traffic
from paintmq.plugin.manager import PluginManager
from paintmq.task import Json


def compare(
    traffic: Traffic, routers: Mapping[str, Mapping[str, Json]], *, rivals: bool = False
) -> dict[str, tuple[Outcome, Summary]]:
    """Return the outcome of the traffic under each router, by name; without names, all installed
    ones.

    Raises:
        ConfigError: a router is not installed or does not take its parameters.
    """
    plugins = PluginManager.installed()
    chosen = routers or {name: {} for name in plugins.routers}
    policies: dict[str, Policy] = {
        name: EnginePolicy(
            traffic, plugins.make_router(RouterConfig(name=name, parameters=parameters))
        )
        for name, parameters in chosen.items()
    }
    if rivals:
        policies |= {rival.name: rival(traffic) for rival in RIVALS}
    results = {}
    for name, policy in policies.items():
        outcome = FleetSimulation(traffic, policy).run()
        results[name] = (outcome, summarise(name, outcome))
    return results
