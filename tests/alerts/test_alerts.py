"""The alert rules by promtool, the dashboard, the metrics as scraped, and the runbook that has each alert."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.core import Metric
from ruamel.yaml import YAML

from pooler.errors import ErrorCode, LoginRefused
from pooler.model.job import Direction
from pooler.model.outcome import Outcome, Status
from pooler.ops.metrics import Metrics
from tests.support.install import promtool
from tests.support.service_double import ServiceDouble

pytestmark = pytest.mark.alerts

ROOT = Path(__file__).parents[2]
RULES = ROOT / "etc" / "prometheus" / "rules.yaml"
DASHBOARD = ROOT / "etc" / "grafana" / "pooler.json"
RUNBOOK = (ROOT / "docs" / "operations.md").read_text("utf-8")


def rules() -> list[dict[str, Any]]:
    found: Any = YAML(typ="safe").load(RULES)
    return [rule for group in found["groups"] for rule in group["rules"]]


ALERTS = [rule for rule in rules() if "alert" in rule]


def tool(*arguments: str, data: bytes | None = None) -> str:
    done = subprocess.run([promtool(), *arguments], input=data, capture_output=True, check=False)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


@pytest.fixture
def metrics() -> Metrics:
    """Have each metric with at least one series."""
    metrics = Metrics("1.2.3", ["site-a", "site-b"])
    metrics.watch(ServiceDouble())
    metrics.job_ended("site-a", Direction.DOWNLOAD, Outcome(Status.SUCCESS, attempts=1))
    metrics.retried("site-a", ErrorCode.IO_ERROR)
    metrics.parked("site-a", 10, "away")
    metrics.root_paused("local", "full")
    metrics.login_failed("site-b", LoginRefused("530 no"))
    return metrics


def test_the_rules_are_rules_and_fire_when_they_should() -> None:
    assert f"{len(rules())} rules found" in tool("check", "rules", str(RULES))
    tool("test", "rules", str(Path(__file__).parent / "rules_test.yaml"))


def test_a_rule_that_never_fires_would_be_noticed(tmp_path: Path) -> None:
    for path in (RULES, Path(__file__).parent / "rules_test.yaml"):
        text = path.read_text().replace("../../etc/prometheus/", "")
        (tmp_path / path.name).write_text(
            text.replace("(pooler_breaker_state[2m])) == 2", "(pooler_breaker_state[2m])) == 3")
        )
    with pytest.raises(AssertionError, match="site-b"):
        tool("test", "rules", str(tmp_path / "rules_test.yaml"))


def test_every_alert_is_tried() -> None:
    tried: Any = YAML(typ="safe").load(Path(__file__).parent / "rules_test.yaml")
    fired = {
        case["alertname"] for test in tried["tests"] for case in test["alert_rule_test"] if case["exp_alerts"]
    }
    assert fired == {rule["alert"] for rule in ALERTS}


def test_what_is_scraped_is_as_prometheus_wants_it(metrics: Metrics) -> None:
    said = tool("check", "metrics", data=metrics.exposition()[0])
    assert said == ""


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_every_alert_has_its_place_in_the_runbook(rule: dict[str, Any]) -> None:
    name = rule["alert"]
    assert rule["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}"
    section = RUNBOOK.split(f"\n### {name}\n")[1].split("\n##")[0]
    for part in ("*What it means*", "*Where to look*", "*What to do*"):
        assert part in section, (name, part)


def names_of(metrics: Metrics) -> set[str]:
    def names(family: Metric) -> set[str]:
        return {sample.name for sample in family.samples} | {family.name}

    return {name for family in metrics.registry.collect() for name in names(family)}


def test_rules_and_dashboard_ask_for_metrics_that_there_are(metrics: Metrics) -> None:
    board = json.loads(DASHBOARD.read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked += [rule["expr"] for rule in rules()]
    assert len(asked) > 25
    for expression in asked:
        for name in re.findall(r"\bpooler_\w+", expression):
            assert name in names_of(metrics), expression


def test_the_dashboard_can_be_imported_anywhere() -> None:
    board = json.loads(DASHBOARD.read_text())
    assert board["uid"] == "ftp-pooler"
    sources = {panel["datasource"]["uid"] for panel in board["panels"]}
    assert sources == {"${DS_PROMETHEUS}"}
    assert board["__inputs"][0]["name"] == "DS_PROMETHEUS"
    identities = [panel["id"] for panel in board["panels"]]
    assert len(set(identities)) == len(identities)
    places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]
    assert len(set(places)) == len(places)
