"""Every overlay is sent to a real API server, in a dry run that changes nothing. Marked ``kube``.

Custom resources are let pass by definitions that allow any field: their schemas are checked in ``manifests``.
"""

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from tests.kube.rendered import Manifest, is_custom, kustomizations, rendered, single_files
from tests.support.install import fetched
from tests.support.process import Daemon, free_port

pytestmark = pytest.mark.kube

TOKEN = "a-token-of-this-test"
PLURALS = {"NetworkPolicy": "networkpolicies", "CiliumEgressGatewayPolicy": "ciliumegressgatewaypolicies"}
CLUSTER_WIDE = {"Namespace", "CustomResourceDefinition", "CiliumEgressGatewayPolicy"}


class Answer(NamedTuple):
    status: int
    body: str
    warnings: list[str]


class Server:
    def __init__(self, port: int, authority: Path) -> None:
        self._base = f"https://localhost:{port}"
        self._tls = ssl.create_default_context(cafile=str(authority))

    def ask(self, method: str, path: str, body: Manifest | None = None) -> Answer:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/apply-patch+yaml"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30, context=self._tls) as answer:
                warnings = answer.headers.get_all("Warning") or []
                return Answer(answer.status, answer.read().decode(), warnings)
        except urllib.error.HTTPError as refused:
            return Answer(refused.code, refused.read().decode(), [])

    def ready(self) -> bool:
        try:
            return self.ask("GET", "/readyz").status == 200
        except OSError:
            return False

    def apply(self, manifest: Manifest, *, dry: bool = True) -> Answer:
        version, kind = manifest["apiVersion"], manifest["kind"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if kind not in CLUSTER_WIDE:
            root += f"/namespaces/{manifest['metadata'].get('namespace', 'pooler')}"
        query = "fieldManager=test&fieldValidation=Strict" + ("&dryRun=All" if dry else "")
        name = manifest["metadata"]["name"]
        return self.ask("PATCH", f"{root}/{plural(kind)}/{name}?{query}", manifest)


def plural(kind: str) -> str:
    return PLURALS.get(kind, kind.lower() + "s")


def definition(manifest: Manifest) -> Manifest:
    group, version = manifest["apiVersion"].split("/")
    kind = manifest["kind"]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural(kind)}.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": plural(kind), "singular": kind.lower()},
            "scope": "Cluster" if kind in CLUSTER_WIDE else "Namespaced",
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                    },
                }
            ],
        },
    }


def namespace(name: str) -> Manifest:
    levels = {f"pod-security.kubernetes.io/{what}": "restricted" for what in ("enforce", "warn")}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": levels}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("control-plane")
    programs = fetched("control-plane", what="cluster")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    ours = authority.issue_cert("localhost", "127.0.0.1")
    ours.private_key_pem.write_to_path(folder / "key.pem")
    for pem in ours.cert_chain_pems:
        pem.write_to_path(folder / "cert.pem", append=True)
    (folder / "tokens.csv").write_text(f"{TOKEN},admin,admin,system:masters\n")
    client, peer, api = free_port(), free_port(), free_port()
    where = f"http://127.0.0.1:{client}"
    etcd = Daemon(
        [
            *(programs / "etcd", "--data-dir", folder / "etcd", "--unsafe-no-fsync"),
            *("--listen-client-urls", where, "--advertise-client-urls", where),
            *("--listen-peer-urls", f"http://127.0.0.1:{peer}"),
        ],
        folder=folder,
        log=folder / "etcd.log",
        ready=[lambda: True],
    )
    made = Server(api, folder / "ca.pem")
    apiserver = Daemon(
        [
            *(programs / "apiserver", f"--etcd-servers={where}", f"--secure-port={api}"),
            *("--bind-address=127.0.0.1", f"--tls-cert-file={folder / 'cert.pem'}"),
            *(f"--tls-private-key-file={folder / 'key.pem'}", f"--cert-dir={folder}"),
            *(f"--token-auth-file={folder / 'tokens.csv'}", "--authorization-mode=RBAC"),
            *(
                "--service-account-issuer=https://localhost",
                f"--service-account-key-file={folder / 'key.pem'}",
            ),
            *(
                f"--service-account-signing-key-file={folder / 'key.pem'}",
                "--service-cluster-ip-range=10.0.0.0/24",
            ),
            # Nobody makes the accounts here that a pod would run as.
            "--disable-admission-plugins=ServiceAccount",
        ],
        folder=folder,
        log=folder / "apiserver.log",
        ready=[made.ready],
        ready_within_s=120,
    )
    etcd.start()
    try:
        apiserver.start()
        try:
            for name in ("pooler", "pooler-dev"):
                assert made.apply(namespace(name), dry=False).status in {200, 201}
            everything = [one for n in (*kustomizations(), *single_files()) for one in rendered(n)]
            definitions = {plural(one["kind"]): definition(one) for one in everything if is_custom(one)}
            for one in definitions.values():
                assert made.apply(one, dry=False).status in {200, 201}
            served = time.monotonic() + 30
            for one in everything:
                while is_custom(one) and made.apply(one).status == 404:
                    assert time.monotonic() < served, one["kind"]
            yield made
        finally:
            apiserver.stop()
    finally:
        etcd.stop()


@pytest.mark.parametrize("name", [*kustomizations(), *single_files()])
def test_the_server_takes_all_of_it_without_a_warning(server: Server, name: str) -> None:
    for manifest in rendered(name):
        answer = server.apply(manifest)
        assert answer.status in {200, 201}, answer.body
        assert answer.warnings == []


def test_a_pod_that_is_not_restricted_is_warned_of(server: Server) -> None:
    (loose,) = [one for one in rendered("base") if one["kind"] == "StatefulSet"]
    changed = json.loads(json.dumps(loose))
    del changed["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"]
    answer = server.apply(changed)
    assert any("restricted" in warning for warning in answer.warnings)
