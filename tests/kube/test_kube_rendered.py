"""Every overlay is rendered, is valid, and agrees with itself. Marked ``manifests``: kustomize, Go, npm."""

import copy
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from pooler.config import load
from tests.kube.rendered import (
    KUBE,
    Manifest,
    is_custom,
    kustomizations,
    only,
    pods,
    rendered,
    single_files,
    wrong_custom,
)

pytestmark = pytest.mark.manifests

EVERYTHING = [*kustomizations(), *single_files()]
PROD = "overlays/prod"


def test_nothing_is_left_out() -> None:
    assert {"base", "overlays/dev", PROD, "overlays/per-pod-volumes"} <= set(kustomizations())
    used = set()
    for file in KUBE.glob("**/kustomization.yaml"):
        for line in file.read_text().splitlines():
            name = line.strip().removeprefix("- ")
            if line.startswith("  - "):
                used.add((file.parent / name).resolve())
    for file in KUBE.glob("**/*.yaml"):
        alone = str(file.relative_to(KUBE)) in single_files()
        assert file.name == "kustomization.yaml" or alone or file in used, file


@pytest.mark.parametrize("name", EVERYTHING)
def test_what_kubernetes_itself_knows_is_valid(name: str) -> None:
    version = kubernetes_validate.latest_version()
    for manifest in rendered(name):
        if not is_custom(manifest):
            kubernetes_validate.validate(manifest, version, strict=True)


def test_custom_resources_are_valid() -> None:
    customs = [one for name in EVERYTHING for one in rendered(name) if is_custom(one)]
    assert {one["kind"] for one in customs} >= {
        "ServiceMonitor",
        "PrometheusRule",
        "ScaledObject",
        "ExternalSecret",
    }
    assert wrong_custom(customs) == []


def test_a_field_that_nobody_knows_and_a_value_that_is_none_are_found() -> None:
    scaled = copy.deepcopy(only(rendered(PROD), "ScaledObject"))
    scaled["spec"]["polingInterval"] = 15
    monitor = copy.deepcopy(only(rendered(PROD), "ServiceMonitor"))
    monitor["spec"]["endpoints"][0]["interval"] = "15 seconds"
    found = wrong_custom([scaled, monitor])
    assert len(found) == 2
    assert "polingInterval" in found[1]
    assert "interval must match" in found[0]


@pytest.mark.parametrize("name", EVERYTHING)
def test_every_pod_is_restricted_and_all_that_it_mounts_is_there(name: str) -> None:
    manifests = rendered(name)
    for pod in pods(manifests):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        volumes = {volume["name"] for volume in pod["volumes"]}
        volumes |= {
            claim["metadata"]["name"]
            for one in manifests
            for claim in one.get("spec", {}).get("volumeClaimTemplates", ())
        }
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            assert container["resources"]["limits"]["memory"]
            assert "cpu" not in container["resources"]["limits"]


@pytest.mark.parametrize("name", kustomizations())
def test_what_a_pod_refers_to_is_in_the_same_folder(name: str) -> None:
    manifests = rendered(name)
    (pod,) = pods(manifests)
    there = {(one["kind"], one["metadata"]["name"]) for one in manifests}
    # A Secret may be made in the cluster.
    made = {("Secret", one["spec"]["target"]["name"]) for one in manifests if one["kind"] == "ExternalSecret"}
    wanted = set()
    for volume in pod["volumes"]:
        for source in volume.get("projected", {}).get("sources", ()):
            wanted |= {("ConfigMap", value["name"]) for key, value in source.items() if key == "configMap"}
            wanted |= {("Secret", value["name"]) for key, value in source.items() if key == "secret"}
        if "persistentVolumeClaim" in volume:
            wanted.add(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]))
    assert wanted
    assert wanted <= there | made
    assert {one["metadata"]["namespace"] for one in manifests if "namespace" in one["metadata"]} <= {
        "pooler",
        "pooler-dev",
    }


@pytest.mark.parametrize("name", kustomizations())
def test_the_configuration_of_each_loads(name: str, tmp_path: Path) -> None:
    manifests = rendered(name)
    config, connections = tmp_path / "config.yaml", tmp_path / "connections.ini"
    config.write_text(only(manifests, "ConfigMap")["data"]["config.yaml"])
    secrets = [one["stringData"] for one in manifests if one["kind"] == "Secret"]
    made = [one["spec"]["target"]["template"]["data"] for one in manifests if one["kind"] == "ExternalSecret"]
    (data,) = secrets + made
    # A password file is there before the program starts; here it is elsewhere.
    (tmp_path / "site-a").write_text("a password")
    connections.write_text(data["connections.ini"].replace("/vault/secrets", str(tmp_path)))
    assert load(config, connections, {}).warnings == ()


def test_whoever_scales_says_how_many_there_are_within_the_topics_partitions(tmp_path: Path) -> None:
    manifests = rendered(PROD)
    stateful_set = only(manifests, "StatefulSet")
    assert "replicas" not in stateful_set["spec"]
    scaled = only(manifests, "ScaledObject")["spec"]
    target = scaled["scaleTargetRef"]
    assert (target["apiVersion"], target["kind"]) == (stateful_set["apiVersion"], stateful_set["kind"])
    assert target["name"] == stateful_set["metadata"]["name"]
    assert scaled["minReplicaCount"] <= scaled["fallback"]["replicas"] <= scaled["maxReplicaCount"]
    (trigger,) = scaled["triggers"]
    config = tmp_path / "config.yaml"
    config.write_text(only(manifests, "ConfigMap")["data"]["config.yaml"])
    kafka = load(config, None, {}).settings.kafka
    assert trigger["metadata"]["topic"] == kafka.input_topic
    assert trigger["metadata"]["consumerGroup"] == kafka.consumer_group
    assert trigger["metadata"]["bootstrapServers"].split(",") == list(kafka.bootstrap_servers)
    assert trigger["metadata"]["allowIdleConsumers"] == "false"
    down = scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] * 1000 > kafka.session_timeout_ms


def test_metrics_are_scraped_once_from_each_pod() -> None:
    manifests = rendered(PROD)
    monitor = only(manifests, "ServiceMonitor")["spec"]
    wanted = monitor["selector"]["matchLabels"].items()
    services = [one for one in manifests if one["kind"] == "Service"]
    (found,) = [one for one in services if wanted <= one["metadata"]["labels"].items()]
    assert found["spec"]["clusterIP"] == "None"
    assert {point["port"] for point in monitor["endpoints"]} <= {p["name"] for p in found["spec"]["ports"]}


def test_all_is_denied_but_what_the_service_needs() -> None:
    manifests = rendered(PROD)
    deny = only(manifests, "NetworkPolicy", "default-deny")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    allow = only(manifests, "NetworkPolicy")["spec"]
    stateful_set = only(manifests, "StatefulSet")["spec"]
    assert allow["podSelector"]["matchLabels"] == stateful_set["template"]["metadata"]["labels"]
    (container,) = stateful_set["template"]["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    assert {port["port"] for rule in allow["ingress"] for port in rule["ports"]} == ports
    # Nobody is let in from everywhere, and nothing is let out to everywhere but to Kafka's ports.
    assert all(rule["from"] for rule in allow["ingress"])
    everywhere = [rule for rule in allow["egress"] if "to" not in rule]
    assert everywhere == [{"ports": [{"port": 9092, "endPort": 9094}]}]
    reached = [range(p["port"], p.get("endPort", p["port"]) + 1) for r in allow["egress"] for p in r["ports"]]
    for port in (53, 9092, 21, 990, 1024, 65535):
        assert any(port in one for one in reached), port


def test_the_budget_and_the_spread_are_of_the_services_pods() -> None:
    manifests = rendered("base")
    labels = only(manifests, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    budget = only(manifests, "PodDisruptionBudget")["spec"]
    assert budget["selector"]["matchLabels"] == labels
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    (pod,) = pods(manifests)
    (spread,) = pod["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == labels


def test_pods_with_volumes_of_their_own_keep_them_and_share_none() -> None:
    manifests = rendered("overlays/per-pod-volumes")
    assert "PersistentVolumeClaim" not in {one["kind"] for one in manifests}
    spec = only(manifests, "StatefulSet")["spec"]
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "data"
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert "data" not in {volume["name"] for volume in spec["template"]["spec"]["volumes"]}


def test_the_namespaces_are_restricted() -> None:
    found: list[Manifest] = [
        one for n in kustomizations() for one in rendered(n) if one["kind"] == "Namespace"
    ]
    assert found
    for one in found:
        labels: dict[str, Any] = one["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
