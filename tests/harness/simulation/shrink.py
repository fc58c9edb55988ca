"""Which faults a failing seed needs: the calmest weather in which it still fails."""

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from paintmq.routing import Router
from tests.harness.simulation.cluster import SimulatedCluster
from tests.harness.simulation.oracle import judged_run
from tests.harness.simulation.world import Weather


def calmest_weather(
    seed: int, *, hours: float, routers: Sequence[Callable[[], Router]]
) -> Weather | None:
    """Return the weather with every kind of fault left out that is not needed to fail; None if the
    seed does not fail.
    """
    drawn = SimulatedCluster(seed, hours=hours, routers=routers)

    def fails(weather: Weather) -> bool:
        cluster = SimulatedCluster(
            seed, scale=drawn.scale, weather=weather, hours=hours, routers=routers
        )
        try:
            judged_run(cluster)
        except Exception:  # noqa: BLE001 -- whatever goes wrong is what is looked for
            return True
        return False

    weather = drawn.weather
    if not fails(weather):
        return None
    for field in attrs.fields(Weather):
        changes: dict[str, Any] = {field.name: field.default}
        calmer = attrs.evolve(weather, **changes)
        if calmer != weather and fails(calmer):
            weather = calmer
    return weather


def in_words(weather: Weather) -> str:
    """Return what is not calm in a weather."""
    return ", ".join(
        f"{field.name}={getattr(weather, field.name)}"
        for field in attrs.fields(Weather)
        if getattr(weather, field.name) != field.default
    )
