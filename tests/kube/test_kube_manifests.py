"""The manifests are valid, and agree with each other and with the program."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
from ruamel.yaml import YAML

from pooler.cli import exits
from pooler.config import Configuration, load
from pooler.ops.http.app import create_app
from pooler.ops.http.metrics_app import create_metrics_app
from pooler.ops.metrics import Metrics
from tests.kube import monitoring
from tests.support.process import free_port
from tests.support.service_double import ServiceDouble

ROOT = Path(__file__).parents[2]
BASE = ROOT / "kube" / "base"
KUSTOMIZATION = BASE / "kustomization.yaml"
LEAVE_S = 10 + 10 + 8  # the last answers, two kinds of clients, the API
"""What the last flush, the publishing of outcomes and the commit may take after the drain."""


@cache
def manifests() -> tuple[dict[str, Any], ...]:
    files = sorted(path for path in BASE.glob("*.yaml") if path != KUSTOMIZATION)
    return tuple(document for path in files for document in YAML(typ="safe").load_all(path))


def only(kind: str, name: str) -> dict[str, Any]:
    (found,) = [m for m in manifests() if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return found


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = only("StatefulSet", "pooler")["spec"]["template"]["spec"]
    return spec


def container() -> dict[str, Any]:
    (found,) = pod()["containers"]
    assert isinstance(found, dict)
    return found


def container_ports() -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container()["ports"]}


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    config, connections = tmp_path / "config.yaml", tmp_path / "connections.ini"
    config.write_text(only("ConfigMap", "pooler")["data"]["config.yaml"])
    connections.write_text(only("Secret", "pooler")["stringData"]["connections.ini"])
    return load(config, connections, {})


@pytest.mark.parametrize("manifest", manifests(), ids=lambda m: f"{m['kind']}-{m['metadata']['name']}")
def test_a_manifest_is_valid(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_the_kustomization_names_every_file_and_the_image() -> None:
    kustomization = YAML(typ="safe").load(KUSTOMIZATION)
    files = {path.name for path in BASE.glob("*.yaml")} - {KUSTOMIZATION.name}
    assert set(kustomization["resources"]) == files
    assert [image["name"] for image in kustomization["images"]] == [container()["image"]]


def test_the_configuration_loads_without_a_warning(configuration: Configuration) -> None:
    assert configuration.warnings == ()
    assert set(configuration.connections) == {"site-a", "local"}
    mounts = {mount["mountPath"] for mount in container()["volumeMounts"]}
    assert str(configuration.settings.transfer.local_root) in mounts


def test_the_example_secret_says_that_it_is_one() -> None:
    text = only("Secret", "pooler")["stringData"]["connections.ini"]
    assert [line for line in text.splitlines() if line.startswith(("user", "pass"))] == [
        "user = REPLACE-ME",
        "pass = REPLACE-ME",
    ]


def test_ports_are_those_of_the_settings(configuration: Configuration) -> None:
    settings = configuration.settings
    assert container_ports() == {"api": settings.api.port, "metrics": settings.metrics.port}
    for name in ("pooler", "pooler-pods"):
        ports = only("Service", name)["spec"]["ports"]
        assert {port["name"]: port["port"] for port in ports} == container_ports()
        assert all(port["targetPort"] == port["name"] for port in ports)
    exposed = [
        line for line in (ROOT / "Containerfile").read_text().splitlines() if line.startswith("EXPOSE")
    ]
    assert exposed == [f"EXPOSE {settings.api.port} {settings.metrics.port}"]


def test_what_the_pod_mounts_is_where_the_program_looks() -> None:
    environment = {entry["name"]: entry.get("value") for entry in container()["env"]}
    (config,) = [volume["projected"]["sources"] for volume in pod()["volumes"] if "projected" in volume]
    mounted = {f"/etc/pooler/{item['path']}" for s in config for kind in s for item in s[kind]["items"]}
    assert mounted == {environment["POOLER_CONFIG"], environment["POOLER_CONNECTIONS"]}
    for source in config:
        for kind, manifest in (("configMap", "ConfigMap"), ("secret", "Secret")):
            if kind in source:
                there = only(manifest, source[kind]["name"])
                keys = set(there.get("data", {})) | set(there.get("stringData", {}))
                assert {item["key"] for item in source[kind]["items"]} == keys
    (secret_item,) = [item for s in config if "secret" in s for item in s["secret"]["items"]]
    assert secret_item["mode"] == 0o400
    assert {volume["name"] for volume in pod()["volumes"]} == {m["name"] for m in container()["volumeMounts"]}
    claims = [
        v["persistentVolumeClaim"]["claimName"] for v in pod()["volumes"] if "persistentVolumeClaim" in v
    ]
    assert [only("PersistentVolumeClaim", name)["spec"]["accessModes"] for name in claims] == [
        ["ReadWriteMany"]
    ]


def test_the_doctor_looks_first_at_all_but_the_remotes(tmp_path: Path) -> None:
    (doctor,) = pod()["initContainers"]
    ours = container()
    assert (doctor["image"], doctor["volumeMounts"]) == (ours["image"], ours["volumeMounts"])
    assert [entry for entry in ours["env"] if entry["name"].startswith("POOLER_C")] == doctor["env"]
    # There is nothing of what it looks for, and so it says what that is.
    remote, folder = "[a]\ntype = ftp\nhost = h\nuser = u\n", "[d]\ntype = alias\nremote = /none\n"
    (tmp_path / "c.ini").write_text(remote + folder)
    environment = {
        **os.environ,
        "POOLER_CONNECTIONS": str(tmp_path / "c.ini"),
        "POOLER__KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
        "POOLER__KAFKA__MAX_RETRIES": "0",
    }
    command = [sys.executable, "-m", "pooler", *doctor["args"]]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == exits.FATAL
    found = [line.split(":")[0].split(maxsplit=1) for line in done.stdout.splitlines()]
    assert [one for one in found if one[0] == "fail"] == [["fail", "kafka"], ["fail", "folder d"]]
    assert not [one for one in found if one[1].startswith("remote")]


async def test_probes_are_answered_on_both_ports() -> None:
    service = ServiceDouble()
    for app in (create_app(service, ()), create_metrics_app(service, Metrics("1", []))):
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            request = container()[probe]["httpGet"]
            assert request["port"] in container_ports()
            assert (await app.test_client().get(request["path"])).status_code == 200


def test_a_pod_keeps_its_place_in_the_group_by_its_name() -> None:
    fields = {entry["name"]: entry.get("valueFrom") for entry in container()["env"]}
    of_the_pod = {"fieldRef": {"fieldPath": "metadata.name"}}
    variables = [name for name, value in fields.items() if value == of_the_pod]
    settings = load(None, None, dict.fromkeys(variables, "pooler-0")).settings
    assert settings.kafka.group_instance_id == "pooler-0"
    # What keeps a name, and so the place: names of a Deployment's pods are new each time.
    assert only("StatefulSet", "pooler")["spec"]["podManagementPolicy"] == "Parallel"


def test_the_grace_period_is_long_enough(configuration: Configuration) -> None:
    stop = container()["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed = stop + configuration.settings.transfer.drain_seconds + LEAVE_S
    assert needed < pod()["terminationGracePeriodSeconds"]


def test_the_pod_is_restricted() -> None:
    security = pod()["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    for own in (one["securityContext"] for one in (*pod()["initContainers"], container())):
        assert own["allowPrivilegeEscalation"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}
    assert pod()["automountServiceAccountToken"] is False
    user = f"USER {security['runAsUser']}:{security['runAsGroup']}"
    assert user in (ROOT / "Containerfile").read_text().splitlines()


def test_services_find_the_pods() -> None:
    stateful_set = only("StatefulSet", "pooler")["spec"]
    labels = stateful_set["template"]["metadata"]["labels"]
    assert stateful_set["selector"]["matchLabels"] == labels
    assert only("Service", stateful_set["serviceName"])["spec"]["clusterIP"] == "None"
    for name in ("pooler", "pooler-pods"):
        assert only("Service", name)["spec"]["selector"] == labels


def test_alert_rules_and_dashboard_in_the_cluster_are_those_of_etc() -> None:
    for path, text in monitoring.made().items():
        assert path.read_text() == text, f"{path}: run `python -m tests.kube.monitoring --write`"
    (rule,) = (YAML(typ="safe").load(path) for path in monitoring.made() if path.suffix == ".yaml")
    assert rule["spec"] == YAML(typ="safe").load(monitoring.ROOT / "etc" / "prometheus" / "rules.yaml")
