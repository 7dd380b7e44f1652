"""The StatefulSet as its manifests have it, in the words of those who run its pods.

What is not known here is an error and not passed over: whoever adds a field to the manifests adds to the
rehearsal what it does, or says in ``_ELSEWHERE`` why that is tried elsewhere.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

NAME = "pooler"
"""Of the StatefulSet, and of the container of its pods that is the service."""

_USED = {
    "pod": {"containers", "initContainers", "terminationGracePeriodSeconds", "volumes"},
    "container": {
        *("name", "image", "command", "args", "env", "envFrom", "ports", "volumeMounts", "lifecycle"),
        *("startupProbe", "livenessProbe", "readinessProbe", "resources"),
    },
    "probe": {
        *("httpGet", "initialDelaySeconds", "periodSeconds", "timeoutSeconds"),
        *("failureThreshold", "successThreshold"),
    },
    "variable": {"name", "value", "valueFrom"},
    "mount": {"name", "mountPath", "readOnly"},
    "volume": {"name", "projected", "persistentVolumeClaim", "emptyDir", "configMap", "secret"},
}
_ELSEWHERE = {
    # What the cluster checks and places: tests/kube has these.
    "pod": {
        *("automountServiceAccountToken", "enableServiceLinks", "securityContext"),
        *("topologySpreadConstraints", "serviceAccountName", "affinity", "priorityClassName"),
    },
    # Whom it runs as, and that it writes nowhere else, is seen in the image itself.
    "container": {"securityContext", "terminationMessagePolicy", "imagePullPolicy"},
}


class NotRehearsedError(Exception):
    """The manifests have something that the rehearsal does not know; says where."""


@dataclass(frozen=True, slots=True)
class Probe:
    """How the kubelet looks at a container.

    Attributes:
        path: what it asks for.
        port: where.
        delay_s: before the first look.
        period_s: from one look to the next.
        timeout_s: for the answer.
        failures: so many in a row are a failure.
        successes: so many in a row are a success.
    """

    path: str
    port: int
    delay_s: float
    period_s: float
    timeout_s: float
    failures: int
    successes: int


@dataclass(frozen=True, slots=True)
class FileOf:
    """One file of a volume.

    Attributes:
        path: in the volume.
        text: what is in it.
        mode: its permissions.
    """

    path: str
    text: str
    mode: int


@dataclass(frozen=True, slots=True)
class Volume:
    """One volume of a pod.

    Attributes:
        name: what mounts call it.
        shared: whether all pods see the same: a claim.
        files: what is in it from the beginning.
    """

    name: str
    shared: bool
    files: Sequence[FileOf] = ()


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a pod.

    Attributes:
        name: its name.
        command: what is run, the entrypoint of the image where the manifests name none.
        environment: its variables; in a value ``None`` stands for the pod's name.
        mounts: names of volumes, by where they are.
        probes: by ``startup``, ``liveness`` and ``readiness``, those that there are.
        pre_stop_s: how long it is let alone before it is told to stop.
        memory_bytes: with more than that it would be killed; None without a limit.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str | None]
    mounts: Mapping[str, str]
    probes: Mapping[str, Probe]
    pre_stop_s: float
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class StatefulSpec:
    """A StatefulSet.

    Attributes:
        replicas: how many pods.
        first: what runs to its end before the service is begun.
        main: the service.
        volumes: by name.
        grace_s: from the wish that a pod ends to its end by force, ``pre_stop_s`` included.
    """

    replicas: int
    first: Sequence[Container]
    main: Container
    volumes: Mapping[str, Volume]
    grace_s: float


def read(root: Path) -> StatefulSpec:
    """Read the manifests of ``kube/base``, and the entrypoint of the Containerfile.

    Args:
        root: of a checkout.

    Raises:
        NotRehearsedError: something in them is not known here.
    """
    base = root / "kube" / "base"
    kustomization = _load(base / "kustomization.yaml")[0]
    _know("kustomization", kustomization, {"apiVersion", "kind", "resources", "images", "labels"})
    manifests = [one for name in kustomization["resources"] for one in _load(base / name)]
    (found,) = [one for one in manifests if one["kind"] == "StatefulSet" and one["metadata"]["name"] == NAME]
    return _StatefulReader(manifests, _entrypoint(root / "Containerfile")).read(found["spec"])


class _StatefulReader:
    def __init__(self, manifests: Sequence[Mapping[str, Any]], entrypoint: Sequence[str]) -> None:
        self._manifests = manifests
        self._entrypoint = entrypoint

    def read(self, spec: Mapping[str, Any]) -> StatefulSpec:
        if spec.get("podManagementPolicy") != "Parallel" or spec["updateStrategy"] != {
            "type": "RollingUpdate"
        }:
            raise NotRehearsedError(
                "pods are begun one after the other, or updated otherwise than by rolling"
            )
        pod = spec["template"]["spec"]
        _know("pod", pod)
        (main,) = [self._container(one) for one in pod["containers"]]
        return StatefulSpec(
            replicas=spec["replicas"],
            first=[self._container(one) for one in pod.get("initContainers", ())],
            main=main,
            volumes={one["name"]: self._volume(one) for one in pod["volumes"]},
            grace_s=pod["terminationGracePeriodSeconds"],
        )

    def _container(self, spec: Mapping[str, Any]) -> Container:
        _know("container", spec)
        ports = {port["name"]: int(port["containerPort"]) for port in spec.get("ports", ())}
        probes = {
            name: _probe(spec[f"{name}Probe"], ports)
            for name in ("startup", "liveness", "readiness")
            if f"{name}Probe" in spec
        }
        for mount in spec.get("volumeMounts", ()):
            _know("mount", mount)
        limit = spec.get("resources", {}).get("limits", {}).get("memory")
        return Container(
            name=spec["name"],
            command=[*spec.get("command", self._entrypoint), *spec.get("args", ())],
            environment=dict(self._variables(spec)),
            mounts={mount["mountPath"]: mount["name"] for mount in spec.get("volumeMounts", ())},
            probes=probes,
            pre_stop_s=_pre_stop_s(spec.get("lifecycle", {})),
            memory_bytes=None if limit is None else _bytes(limit),
        )

    def _variables(self, spec: Mapping[str, Any]) -> Iterable[tuple[str, str | None]]:
        for source in spec.get("envFrom", ()):
            ((kind, named),) = source.items()
            yield from self._keys(kind.removesuffix("Ref"), named["name"]).items()
        for variable in spec.get("env", ()):
            _know("variable", variable)
            if "value" in variable:
                yield variable["name"], variable["value"]
                continue
            ((kind, named),) = variable["valueFrom"].items()
            if kind == "fieldRef" and named == {"fieldPath": "metadata.name"}:
                yield variable["name"], None
            elif kind in {"configMapKeyRef", "secretKeyRef"}:
                yield variable["name"], self._keys(kind.removesuffix("KeyRef"), named["name"])[named["key"]]
            else:
                raise NotRehearsedError(f"the variable {variable['name']} comes from {kind} {named}")

    def _volume(self, spec: Mapping[str, Any]) -> Volume:
        _know("volume", spec)
        ((kind, source),) = [item for item in spec.items() if item[0] != "name"]
        files: list[FileOf] = []
        if kind == "projected":
            for one in source["sources"]:
                ((kept, named),) = one.items()
                files += self._files(kept, named["name"], named)
        elif kind in {"configMap", "secret"}:
            named = {**source, "name": source.get("name", source.get("secretName"))}
            files += self._files(kind, named["name"], named)
        return Volume(spec["name"], kind == "persistentVolumeClaim", files)

    def _files(self, kind: str, name: str, source: Mapping[str, Any]) -> Iterable[FileOf]:
        keys = self._keys(kind, name)
        whole = [{"key": key, "path": key} for key in keys]
        for item in source.get("items", whole):
            yield FileOf(item["path"], keys[item["key"]], item.get("mode", source.get("defaultMode", 0o644)))

    def _keys(self, kind: str, name: str) -> Mapping[str, str]:
        """Return what a ConfigMap or a Secret holds."""
        wanted = {"configMap": "ConfigMap", "secret": "Secret"}[kind]
        (found,) = [
            one for one in self._manifests if one["kind"] == wanted and one["metadata"]["name"] == name
        ]
        if found.get("binaryData") or (wanted == "Secret" and found.get("data")):
            raise NotRehearsedError(f"{wanted} {name} has encoded data")
        keys: Mapping[str, str] = found["stringData" if wanted == "Secret" else "data"]
        return keys


def _probe(spec: Mapping[str, Any], ports: Mapping[str, int]) -> Probe:
    _know("probe", spec)
    asked = spec["httpGet"]
    _know("httpGet", asked, {"path", "port"})
    return Probe(
        path=asked["path"],
        port=ports[asked["port"]] if isinstance(asked["port"], str) else asked["port"],
        delay_s=spec.get("initialDelaySeconds", 0),
        period_s=spec.get("periodSeconds", 10),
        timeout_s=spec.get("timeoutSeconds", 1),
        failures=spec.get("failureThreshold", 3),
        successes=spec.get("successThreshold", 1),
    )


def _pre_stop_s(lifecycle: Mapping[str, Any]) -> float:
    if not lifecycle:
        return 0.0
    _know("lifecycle", lifecycle, {"preStop"})
    _know("preStop", lifecycle["preStop"], {"sleep"})
    return float(lifecycle["preStop"]["sleep"]["seconds"])


def _bytes(quantity: str) -> int:
    for suffix, factor in (("Ki", 2**10), ("Mi", 2**20), ("Gi", 2**30)):
        if quantity.endswith(suffix):
            return int(quantity.removesuffix(suffix)) * factor
    return int(quantity)


def _entrypoint(containerfile: Path) -> Sequence[str]:
    (line,) = [line for line in containerfile.read_text().splitlines() if line.startswith("ENTRYPOINT ")]
    words: list[str] = json.loads(line.removeprefix("ENTRYPOINT "))
    return words


def _know(what: str, spec: Mapping[str, Any], names: Iterable[str] = ()) -> None:
    known = {*_USED.get(what, ()), *_ELSEWHERE.get(what, ()), *names}
    if strange := sorted(set(spec) - known):
        raise NotRehearsedError(f"{what}: {', '.join(strange)} is not rehearsed")


def _load(path: Path) -> list[dict[str, Any]]:
    return list(YAML(typ="safe").load_all(path))
