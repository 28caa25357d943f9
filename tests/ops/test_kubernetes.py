"""The manifests are what Kubernetes takes, and what they name is there: settings, ports, labels, secrets."""

import importlib
import os
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from populace.gateway.deployment import STOP_SECONDS_MAX
from populace.settings.settings import Settings
from populace.settings.sources import PREFIX, variable_of
from tests.house.source_tree import ROOT

FOLDER = ROOT / "ops/kubernetes"
VERSION = "1.30"
"""The oldest one that is maintained anywhere by the time of this release; later ones take the same."""


def manifests() -> Iterator[Any]:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert sorted(listed) == sorted(file.name for file in FOLDER.glob("*.yaml") if "kustom" not in file.name)
    for name in listed:
        yield from yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8"))


def of_kind(kind: str) -> list[Any]:
    return [one for one in manifests() if one["kind"] == kind]


WORKLOADS = [*of_kind("StatefulSet"), *of_kind("Deployment")]


def containers(workload: Any) -> list[Any]:
    spec = workload["spec"]["template"]["spec"]
    return [*spec["containers"], *spec["initContainers"]]


def test_kubernetes_takes_them() -> None:
    name = "kubernetes_validate"
    schemas: Any = importlib.import_module(name) if "CI" in os.environ else pytest.importorskip(name)

    for manifest in manifests():
        schemas.validate(manifest, VERSION, strict=True)


def test_variables_are_settings_and_none_comes_from_the_name_of_a_service() -> None:
    assert not any(load["spec"]["template"]["spec"]["enableServiceLinks"] for load in WORKLOADS)
    named = {one["name"] for load in WORKLOADS for part in containers(load) for one in part.get("env", ())}

    assert {name for name in named if name.startswith(PREFIX)} <= {
        variable_of(n) for n in Settings.model_fields
    }


def test_ports_are_those_that_it_listens_on() -> None:
    (store,) = of_kind("StatefulSet")
    main = store["spec"]["template"]["spec"]["containers"][0]
    ports = {one["name"]: one["containerPort"] for one in main["ports"]}

    assert ports["http"] == Settings.model_fields["port"].default
    assert str(ports["cluster"]) == main["args"][main["args"].index("--cluster-port") + 1]
    reached = {one["targetPort"]: one["port"] for load in of_kind("Service") for one in load["spec"]["ports"]}
    assert reached.keys() == ports.keys()
    (engines,) = of_kind("Deployment")
    joined = engines["spec"]["template"]["spec"]["containers"][0]["args"][1]
    assert joined == f"{store['spec']['serviceName']}:{reached['cluster']}"


def test_selectors_find_pods_and_mounts_find_volumes() -> None:
    pods = [load["spec"]["template"]["metadata"]["labels"] for load in WORKLOADS]

    for load, labels in zip(WORKLOADS, pods, strict=True):
        assert load["spec"]["selector"]["matchLabels"].items() <= labels.items()
        spec = load["spec"]["template"]["spec"]
        claims = [one["metadata"]["name"] for one in load["spec"].get("volumeClaimTemplates", ())]
        volumes = {*claims, *(one["name"] for one in spec["volumes"])}
        assert {one["name"] for part in containers(load) for one in part["volumeMounts"]} == volumes
    for service in of_kind("Service"):
        assert any(service["spec"]["selector"].items() <= labels.items() for labels in pods)


def test_one_pod_has_the_store_and_has_time_to_drain() -> None:
    (store,) = of_kind("StatefulSet")
    pod = store["spec"]["template"]["spec"]
    drain = Settings.model_fields["drain_seconds_max"].default

    assert store["spec"]["replicas"] == 1
    assert store["spec"]["volumeClaimTemplates"][0]["spec"]["accessModes"] == ["ReadWriteOncePod"]
    wait = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] >= wait + drain + 3 * STOP_SECONDS_MAX


def test_no_part_has_rights_that_it_does_not_need() -> None:
    for load in WORKLOADS:
        assert load["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"]
        for part in containers(load):
            assert not part["securityContext"]["allowPrivilegeEscalation"]
            assert part["securityContext"]["capabilities"] == {"drop": ["ALL"]}
