"""``examples/monitoring`` asks for metrics that there are, in queries Prometheus understands."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from paintmq.statistics import BrokerStatistics
from paintmq_plugins import prometheus

FOLDER = Path(__file__).parents[2] / "examples" / "monitoring"
pytest.importorskip("prometheus_client", reason="the extra prometheus is not here")


def offered() -> set[str]:
    """Return the name of each series of the metrics."""
    names = set()
    for family in prometheus.metrics(BrokerStatistics()):
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        names |= {family.name + suffix for suffix in suffixes.get(family.type, [""])}
    return names


def queries() -> list[str]:
    dashboard = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_rules_and_dashboard_name_metrics_that_there_are() -> None:
    text = (FOLDER / "alerts.yml").read_text(encoding="utf-8") + "\n".join(queries())
    named = set(re.findall(r"paintmq_\w+", text))

    assert len(named) > 15
    assert named <= offered()


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    dashboard = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in dashboard["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_understands_rules_configuration_and_queries(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": re.sub(r"\$__rate_interval", "1m", query)}
        for number, query in enumerate(queries())
    ]
    panels = tmp_path / "panels.json"
    panels.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    for check in (
        ["rules", str(FOLDER / "alerts.yml"), str(panels)],
        ["config", str(FOLDER / "prometheus.yml")],
    ):
        checked = subprocess.run(
            ["promtool", "check", *check], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
