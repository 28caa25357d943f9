"""What operators are given names only what a gateway shows: its page, the dashboard and the alert rules."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.runtime.gateway.metrics_page import BEGIN, END, PAGE, shown_metrics, table

OPS = Path(__file__).parents[3] / "ops"
DASHBOARD, ALERTS = OPS / "populace-dashboard.json", OPS / "populace-alerts.yaml"

METRIC = re.compile(r"\b((?:populace_|vllm:)\w+)(?:\{([^}]*)\})?")
GROUPED = re.compile(r"\b(?:by|on|without)\s*\(([^)]*)\)")
LABEL = re.compile(r"(\w+)\s*[=!]")
TOLD = re.compile(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}")
OF_PROMETHEUS = {"job", "instance"}
"""The labels that Prometheus adds to what it scrapes."""

FOREIGN = ("DCGM_", "up{")
"""Metrics of others: NVIDIA's exporter, and Prometheus' own."""


class Query(NamedTuple):
    """An expression, and the texts with labels that are shown beside its results."""

    where: str
    expression: str
    texts: tuple[str, ...]


def queries() -> Iterator[Query]:
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield Query(panel["title"], target["expr"], (target["legendFormat"],))
    for variable in dashboard["templating"]["list"]:
        yield Query(variable["name"], variable["query"]["query"], ())
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            yield Query(rule["alert"], rule["expr"], tuple(rule["annotations"].values()))


def faults(query: Query) -> list[str]:
    """Return the metrics and labels in a query that no gateway shows."""
    known = {sample: set(metric.labels) for metric in shown_metrics() for sample in metric.samples}
    named = METRIC.findall(query.expression)
    found = [f"no metric {name}" for name, _ in named if name not in known]
    labels = [known.get(name, set()) | OF_PROMETHEUS | {"le"} for name, _ in named]
    for (name, matchers), has in zip(named, labels, strict=True):
        found += [f"{name} has no {label}" for label in LABEL.findall(matchers) if label not in has]
    of_all = set[str].intersection(*labels) if labels else set[str]()
    grouped = [label.strip() for group in GROUPED.findall(query.expression) for label in group.split(",")]
    told = [label for text in query.texts for label in TOLD.findall(text) if label != "value"]
    if not query.expression.startswith(FOREIGN) and "(DCGM_" not in query.expression:
        found += [f"not all have {label}" for label in (*filter(None, grouped), *told) if label not in of_all]
        if not named:
            found.append("it asks for nothing of ours")
    return found


@pytest.mark.parametrize("query", list(queries()), ids=lambda query: query.where)
def test_a_query_asks_for_metrics_and_labels_that_are_shown(query: Query) -> None:
    assert faults(query) == []


def test_a_query_for_what_is_not_shown_is_found_out() -> None:
    def of(expression: str, text: str = "") -> list[str]:
        return faults(Query("a panel", expression, (text,)))

    assert of("rate(populace_host_turns[1m])") == ["no metric populace_host_turns"]
    assert of('populace_host_up{replica="0"}') == ["populace_host_up has no replica"]
    assert of("sum by (host) (populace_engine_running)") == ["not all have host"]
    assert of("populace_host_up == 0", "{{ $labels.tenant }} is away") == ["not all have tenant"]
    assert of("time()") == ["it asks for nothing of ours"]


def test_every_alert_says_how_urgent_it_is_and_what_happened() -> None:
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]

    assert len({rule["alert"] for rule in rules}) == len(rules)
    assert {rule["labels"]["severity"] for rule in rules} == {"page", "ticket"}
    assert all(rule["annotations"]["summary"] for rule in rules)


def test_the_page_has_every_metric_as_it_is_shown() -> None:
    page = PAGE.read_text(encoding="utf-8")

    written = BEGIN + page.split(BEGIN)[1].split(END)[0] + END
    assert written == table(), "python -m tests.runtime.gateway.metrics_page writes it anew"


def test_no_label_could_name_a_person() -> None:
    labels = {label for metric in shown_metrics(vllm_names=True) for label in metric.labels}

    assert labels == {
        *("base", "code", "engine", "finish_reason", "finished_reason", "fingerprint", "gateway", "host"),
        "kind",
        *(
            "model_name",
            "number",
            "outcome",
            "process",
            "python",
            "replica",
            "route",
            "state",
            "status",
            "tier",
        ),
        *("verdict", "version", "why"),
    }
