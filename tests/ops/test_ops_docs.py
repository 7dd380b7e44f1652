"""docs/operations.md says what is there: every metric, every route."""

import re
from pathlib import Path

from pooler.errors import ErrorCode
from pooler.model.job import Direction
from pooler.model.outcome import Outcome, Status
from pooler.ops.http.app import create_app
from pooler.ops.logs import REPEATS_PER_MINUTE
from pooler.ops.metrics import Metrics
from tests.support.service_double import ServiceDouble

TEXT = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")


def rows(heading: str) -> list[list[str]]:
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_table_of_metrics_is_the_registry() -> None:
    metrics = Metrics("1", ["site-a"])
    metrics.watch(ServiceDouble())
    metrics.job_ended("site-a", Direction.DOWNLOAD, Outcome(Status.SUCCESS, attempts=1))
    metrics.retried("site-a", ErrorCode.IO_ERROR)
    metrics.root_paused("local", "full")
    metrics.parked("site-a", 10, "away")
    found = {
        (
            family.name + ("_total" if family.type == "counter" else ""),
            family.type,
            frozenset(label for sample in family.samples for label in sample.labels if label != "le"),
        )
        for family in metrics.registry.collect()
        if family.name.startswith("pooler_")
    }
    documented = {
        (name.strip("`"), kind, frozenset(filter(None, re.split(r",\s*", labels))))
        for name, kind, labels, _ in rows("Metrics")
    }
    assert documented == found


def test_the_table_of_routes_is_the_application() -> None:
    app = create_app(ServiceDouble(), ())
    found = {
        (method, re.sub(r"<(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
        if method != "HEAD"
    }
    documented = {
        (method, path.strip("` ")) for method, paths, *_ in rows("Admin API") for path in paths.split(",")
    }
    assert documented == found


OTHER_SCOPES = {
    "/v1/drain": "admin",
    "/v1/reload": "admin",
    "/v1/audit": "admin",
    "/v1/tasks": "admin",
    "/v1/config": "operate",
}


def test_the_table_of_routes_has_the_scopes_that_the_api_asks_for() -> None:
    for method, path, scope, _ in rows("Admin API"):
        if path.startswith("`/v1/") and "openapi" not in path:
            least = OTHER_SCOPES.get(path.strip("` "), {"GET": "read", "POST": "operate"}[method])
            assert scope == least


def test_the_limit_of_repeats_is_as_documented() -> None:
    assert f"{REPEATS_PER_MINUTE} times a minute" in TEXT
