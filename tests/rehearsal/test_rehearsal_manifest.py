"""The rehearsal takes its rules from the manifests, and says so where it does not know one."""

import shutil
from pathlib import Path

import pytest

from tests.rehearsal.manifest import NotRehearsedError, StatefulSpec, read

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "kube", tmp_path / "kube")
    shutil.copy(ROOT / "Containerfile", tmp_path)
    return tmp_path


def changed(tree: Path, before: str, after: str, name: str = "statefulset") -> StatefulSpec:
    path = tree / "kube" / "base" / f"{name}.yaml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    return read(tree)


def test_the_service_is_run_as_the_manifests_say() -> None:
    spec = read(ROOT)
    assert spec.main.command == ["pooler", "run"]
    assert [first.command[:2] for first in spec.first] == [["pooler", "doctor"]]
    assert spec.main.environment["POD_NAME"] is None  # its name
    assert set(spec.main.probes) == {"startup", "liveness", "readiness"}
    assert spec.main.pre_stop_s < spec.grace_s
    shared = [volume.name for volume in spec.volumes.values() if volume.shared]
    assert [path for path, name in spec.main.mounts.items() if name in shared] == ["/data"]
    files = {file.path for volume in spec.volumes.values() for file in volume.files}
    assert files >= {"config.yaml", "connections.ini"}


def test_what_is_changed_there_is_changed_here(tree: Path) -> None:
    assert changed(tree, "terminationGracePeriodSeconds: 60", "terminationGracePeriodSeconds: 7").grace_s == 7
    assert changed(tree, 'args: ["run"]', 'args: ["run", "-v"]').main.command == ["pooler", "run", "-v"]
    assert changed(tree, "path: /readyz", "path: /livez").main.probes["readiness"].path == "/livez"
    assert changed(tree, "memory: 1Gi", "memory: 3Mi").main.memory_bytes == 3 * 2**20


def test_variables_come_from_the_config_map_and_the_secret(tree: Path) -> None:
    after = (
        "env:\n            - name: LEVEL\n              valueFrom:\n"
        "                configMapKeyRef: {name: pooler, key: level}\n"
        "            # Every result says who did the job."
    )
    changed(tree, "data:\n", "data:\n  level: DEBUG\n", "configmap")
    spec = changed(tree, "env:\n            # Every result says who did the job.", after)
    assert spec.main.environment["LEVEL"] == "DEBUG"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("          lifecycle:\n", "          stdin: true\n          lifecycle:\n"),
        ("            preStop:\n", "            postStart: {}\n            preStop:\n"),
        ("podManagementPolicy: Parallel", "podManagementPolicy: OrderedReady"),
        (
            "      terminationGracePeriodSeconds",
            "      hostNetwork: true\n      terminationGracePeriodSeconds",
        ),
        ("fieldPath: metadata.name", "fieldPath: status.podIP"),
    ],
)
def test_what_is_not_known_is_not_passed_over(tree: Path, before: str, after: str) -> None:
    with pytest.raises(NotRehearsedError):
        changed(tree, before, after)
