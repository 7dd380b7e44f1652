"""The manifests as ``kubectl apply -k`` would send them."""

import json
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.support.install import ROOT, fetched, schemas

KUBE = ROOT / "kube"

Manifest = dict[str, Any]


def kustomizations() -> list[str]:
    """Return the folders below kube/ that can be applied, components aside."""
    files = sorted(KUBE.glob("**/kustomization.yaml"))
    return [str(file.parent.relative_to(KUBE)) for file in files if "components" not in file.parts]


def single_files() -> list[str]:
    """Return the files below kube/ that are applied by themselves."""
    return sorted(str(file.relative_to(KUBE)) for file in KUBE.glob("examples/*.yaml"))


@cache
def rendered(name: str) -> tuple[Manifest, ...]:
    """Return the manifests of a folder or a file below kube/."""
    if name.endswith(".yaml"):
        text = (KUBE / name).read_text()
    else:
        program = fetched("kustomize", "kustomize", what="manifests")
        done = subprocess.run(
            [program, "build", KUBE / name], capture_output=True, text=True, timeout=60, check=False
        )
        # What is deprecated is a warning here, and an error some day.
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        text = done.stdout
    return tuple(YAML(typ="safe").load_all(text))


def is_custom(manifest: Manifest) -> bool:
    """Tell whether it is a custom resource: the groups of Kubernetes itself have no dot, or end so."""
    group = manifest["apiVersion"].partition("/")[0]
    return "." in group and not group.endswith(".k8s.io")


def wrong_custom(manifests: Sequence[Manifest]) -> list[str]:
    """Return what is wrong with custom resources, by their schemas."""
    done = subprocess.run(
        ["node", Path(__file__).with_name("schemas") / "check.js", schemas()],
        input=json.dumps(manifests),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()


def only(manifests: Sequence[Manifest], kind: str, name: str = "pooler") -> Manifest:
    """Return the one manifest of this kind and name."""
    (found,) = [one for one in manifests if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def pods(manifests: Sequence[Manifest]) -> list[Manifest]:
    """Return the specifications of all pods."""
    found: list[Manifest] = []
    for manifest in manifests:
        spec = manifest.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template", {})
        if "spec" in template and "containers" in template["spec"]:
            found.append(template["spec"])
    return found
