"""Secrets are planted wherever a service has them, everything goes wrong, and none is found afterwards.

The service runs as a process, on the embedded broker and beside real FTP servers. What is looked through:
its log in both forms, each route of its API that the OpenAPI document names, the page, the stream of events,
the metrics, and both topics of answers.
"""

import base64
import hashlib
import json
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from cryptography.hazmat.primitives import serialization

from pooler.cli import exits
from pooler.demo.broker import embedded_broker
from tests.support.process import free_port
from tests.support.servers import RunningServer, running_server
from tests.support.service import RunningPooler, Site, wait_until

SECRETS = {
    "wrong": "planted wr0ng/p@ss",
    "file": "planted-f1le+pass",
    "account": "planted-acct-9x",
    "socks": "planted-s0cks!p",
    "http": "planted-http-pr0xy",
    "token": "planted-token-000000000000",
    "bad token": "planted-bad-token-1111",
    "query": "planted-query-token-22",
    "record": "planted-rec0rd-33",
    "reload": "planted-rel0ad-44",
    "sasl": "planted-sasl-55=x",
    "passphrase": "planted-phrase-66",
}
ALONE: dict[str, dict[str, Any]] = {
    "kafka": {
        "delivery": "at_least_once", "topic_checks": "off", "retry_delays_seconds": [], "control_topic": "",
        "max_retries": 0,
    },
    "retry": {"attempts": 1},
    "circuit_breaker": {"failure_threshold": 1, "timeout_seconds": 1},
    "transfer": {"connect_timeout_seconds": 5},
}  # fmt: skip
PROBES = ("/health", "/live", "/livez", "/ready", "/readyz")
JOBS = ("good", "missing", "wrong", "file", "acct", "tls", "socks", "http", "nowhere")


def forms(secret: str, user: str) -> Iterator[str]:
    """Give the ways in which a secret may be written."""
    yield secret
    yield json.dumps(secret)[1:-1]
    yield repr(secret)[1:-1]
    yield urllib.parse.quote(secret, safe="")
    for raw in (secret.encode(), f"{user}:{secret}".encode(), f"\0{user}\0{secret}".encode()):
        yield base64.b64encode(raw).decode().rstrip("=")
        yield base64.urlsafe_b64encode(raw).decode().rstrip("=")
        yield raw.hex()


def found_in(text: str, secrets: Mapping[str, str], users: tuple[str, ...]) -> list[str]:
    return [
        name
        for name, secret in secrets.items()
        if any(form in text for user in users for form in forms(secret, user))
    ]


def connections(folder: Path, site: Site, plain: RunningServer, secure: RunningServer) -> str:
    closed = free_port()
    (folder / "password").write_text(f"{SECRETS['file']}\n")
    where = f"type = ftp\nhost = 127.0.0.1\nuser = {plain.user}\n"
    there = f"{where}port = {plain.port}\n"
    sections = {
        "good": f"{there}pass = {plain.password}\n",
        "wrong": f"{there}pass = {SECRETS['wrong']}\n",
        "file": f"{there}pass_file = {folder / 'password'}\n",
        "acct": f"{there}pass = {SECRETS['wrong']}\naccount = {SECRETS['account']}\n",
        "tls": f"{where}port = {secure.port}\npass = {secure.password}\nexplicit_tls = true\n",
        "socks": f"{there}pass = {SECRETS['wrong']}\n"
        f"socks_proxy = me:{SECRETS['socks']}@127.0.0.1:{closed}\n",
        "http": f"{there}pass = {SECRETS['wrong']}\n"
        f"http_proxy = http://me:{SECRETS['http']}@127.0.0.1:{closed}\n",
    }
    text = f"[local]\ntype = local\nbase_path = {site.local}\n"
    return text + "".join(f"[{name}]\n{section}" for name, section in sections.items())


def jobs() -> Iterator[bytes]:
    for name in JOBS:
        path = "/missing" if name == "missing" else "/a"
        remote = "good" if name == "missing" else name
        job = {"task_id": name, "src_id": remote, "src_path": path, "dst_id": "local", "dst_path": f"/{name}"}
        yield json.dumps({**job, "options": {"retry_count": 0, "deadline_seconds": 3}}).encode()
    yield f'{{"password": "{SECRETS["record"]}"'.encode()  # no JSON
    yield json.dumps({"task_id": "invalid", "password": SECRETS["record"]}).encode()
    wrong = {"task_id": "option", "src_id": "good", "src_path": "/a", "dst_id": "local", "dst_path": "/b"}
    yield json.dumps({**wrong, "options": {"password": SECRETS["record"]}}).encode()


def read(bootstrap: str, *topics: str) -> list[dict[str, Any]]:
    """Read what stands on topics of the embedded broker; to ask for one makes it."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "look", "allow.auto.create.topics": True, "log_level": 0}
    )
    try:
        places = [
            TopicPartition(topic, number)
            for topic in topics
            for number in consumer.list_topics(topic, timeout=10).topics[topic].partitions
        ]
        ends = [consumer.get_watermark_offsets(place, timeout=10)[1] for place in places]
        consumer.assign([TopicPartition(place.topic, place.partition, OFFSET_BEGINNING) for place in places])
        found: list[dict[str, Any]] = []
        while len(found) < sum(ends):
            found += [
                json.loads(one.value() or b"") for one in consumer.consume(100, 1.0) if one.error() is None
            ]
        return found
    finally:
        consumer.close()


class Asking:
    """Somebody with a token who asks for all there is, and keeps what is answered."""

    def __init__(self, running: RunningPooler) -> None:
        self._running = running
        self.heard: dict[str, str] = {}

    def ask(self, method: str, path: str, *, token: str | None = SECRETS["token"], body: str = "") -> int:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        if body:
            headers["Content-Type"] = "application/json"
        base = self._running.metrics if path == "/metrics" else self._running.api
        request = urllib.request.Request(
            base + path, method=method, headers=headers, data=body.encode() if body else None
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                # Events have no end: the first of them has all that there is.
                text = response.read1(1 << 20) if path == "/v1/live" else response.read()
                status = int(response.status)
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        said = f"{self.heard.get(f'{method} {path}', '')}{text.decode()}"
        self.heard[f"{method} {path}"] = said
        return status

    def walk(self) -> int:
        """Ask for each route of the document, but the one that ends the service; tell how many there are."""
        assert self.ask("GET", "/v1/openapi.json") == 200
        document = json.loads(self.heard["GET /v1/openapi.json"].partition("\n")[0])
        count = 0
        for path, methods in document["paths"].items():
            for method in methods.keys() & {"get", "post", "put", "delete"}:
                if path == "/v1/drain":
                    continue
                for name in (*JOBS[:1], *JOBS[2:-1]) if "{name}" in path else ("",):
                    self._visit(method.upper(), path.replace("{name}", name))
                count += 1
        return count

    def _visit(self, method: str, path: str) -> None:
        query = {"/v1/jobs/find": "?task_id=wrong", "/v1/jobs/cancel": "?task_id=wrong"}.get(path, "")
        query = "?bytes_per_s=1000000" if path.endswith("/bandwidth") else query
        query = "?max_sessions=2" if path.endswith("/limit") else query
        body = json.dumps({"task_id": "by-api", "password": SECRETS["record"]}) if path == "/v1/jobs" else ""
        status = self.ask(method, path + query, body=body if method == "POST" else "")
        assert status != 401, path
        assert status < 500 or "/probe" in path or path in PROBES, (path, status)


def go_wrong(site: Site, running: RunningPooler, asking: Asking) -> None:
    """Show wrong tokens, and reload files that are wrong, each in another way."""
    assert asking.ask("GET", "/v1/status", token=SECRETS["bad token"]) == 401
    assert asking.ask("GET", f"/v1/status?access_token={SECRETS['query']}", token=None) == 401
    del asking.heard[f"GET /v1/status?access_token={SECRETS['query']}"]  # the question, and no answer
    secret = SECRETS["reload"]
    files = {
        site.folder / name: (site.folder / name).read_text() for name in ("config.yaml", "connections.ini")
    }
    config, ini = files
    for path, text in (
        (ini, f"[a]\ntype = ftp\nhost = h\npasswd = {secret}\n"),
        (ini, f"[a]\ntype = ftp\nhost = h\n{secret}\n"),
        (ini, f"[a]\ntype = ftp\nhost = h\npass = x\nsocks_proxy = me:{secret}@h:noport\n"),
        (ini, f"[a]\ntype = ftp\nhost = h\npass = x\nhttp_proxy = https://me:{secret}@h:1\n"),
        (ini, f"[a]\ntype = ftp\nhost = h\nclient_key = k\nclient_key_password = {secret}\n"),
        (ini, f"[a]\ntype = ftp\nhost = h\npass = {secret}\npass_file = x\n"),
        (config, json.dumps({"connections": {"format": "rclone"}}) + "\n"),
        (config, json.dumps({"kafka": {"sasl_password": [secret]}}) + "\n"),
        (config, json.dumps({"kafka": {"sasl_password": secret, "sasl_pasword": secret}}) + "\n"),
        (config, f"kafka: {{sasl_password: {secret}\n"),
    ):
        path.write_text(text)
        asking.ask("POST", "/v1/reload")
        path.write_text(files[path])
    refused = asking.heard["POST /v1/reload"].count('"done":false')
    assert refused >= 10, asking.heard["POST /v1/reload"]
    assert running.process.poll() is None


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_planted_secret_is_told(tmp_path: Path, form: str) -> None:
    with (
        embedded_broker() as bootstrap,
        running_server("pyftpdlib", tmp_path / "plain") as plain,
        running_server("pyftpdlib", tmp_path / "secure", tls=True) as secure,
    ):
        plain.put("/a", b"data")
        read(bootstrap, "ftp-tasks", "ftp-results", "ftp-failures", "ftp-tasks-dlq")
        tokens = tmp_path / "tokens"
        hashed = hashlib.sha256(SECRETS["token"].encode()).hexdigest()
        tokens.write_text(f"admin:{hashed}:anna\n")
        logging: dict[str, dict[str, Any]] = {
            "logging": {"level": "DEBUG", "format": form},
            "api": {"token_file": str(tokens)},
        }
        site = Site(tmp_path / "site", bootstrap, {}, ALONE | logging)
        (site.folder / "connections.ini").write_text(connections(tmp_path, site, plain, secure))
        with site.running(ready=False) as running:
            asking = Asking(running)
            wait_until(lambda: is_ready(running, asking), "the service")
            producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
            for record in jobs():
                producer.produce("ftp-tasks", record)
            assert producer.flush(20) == 0
            expected = {*JOBS, "invalid", "option"}
            answers: dict[str, dict[str, Any]] = {}

            def all_answered() -> bool:
                answers.update(
                    {one["task_id"]: one for one in read(bootstrap, "ftp-results", "ftp-failures")}
                )
                return answers.keys() >= expected

            wait_until(all_answered, "all answers")
            go_wrong(site, running, asking)
            assert asking.walk() > 20
            for path in ("/", "/v1/live", "/metrics", "/v1/config"):
                assert asking.ask("GET", path) == 200
            assert asking.ask("POST", "/v1/drain") in {200, 202}
            assert running.wait() == 0
    codes = {name: answer.get("error_code", answer["status"]) for name, answer in answers.items()}
    assert codes["good"] == "success"
    assert codes["missing"] == "FILE_NOT_FOUND"
    assert codes["nowhere"] == "UNKNOWN_REMOTE"
    assert (codes["invalid"], codes["option"]) == ("INVALID_JOB", "INVALID_JOB")
    # What kept the others is told: so it was tried, with all that was planted.
    log = running.log.read_text()
    assert all(word in log for word in ("530", "CERTIFICATE_VERIFY_FAILED", "SOCKS", "wrong"))

    users = (plain.user, "me")
    secrets = {**SECRETS, "good": plain.password, "secure": secure.password}
    assert found_in(log, secrets, users) == []
    for question, said in asking.heard.items():
        assert found_in(said, secrets, users) == [], question
    # An invalid job is handed back whole, to who has sent it.
    del secrets["record"]
    for answer in answers.values():
        assert found_in(json.dumps(answer), secrets, users) == [], answer["task_id"]


def is_ready(running: RunningPooler, asking: Asking) -> bool:
    assert running.process.poll() is None, running.log.read_text()[-4000:]
    try:
        return asking.ask("GET", "/v1/status") == 200 and '"ready":true' in asking.heard["GET /v1/status"]
    except OSError:
        return False


def test_brokers_that_do_not_know_us_are_not_told_on(tmp_path: Path) -> None:
    with embedded_broker() as bootstrap:
        kafka = ALONE["kafka"] | {
            "security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_username": "me",
            "sasl_password": SECRETS["sasl"],
        }  # fmt: skip
        site = Site(tmp_path / "site", bootstrap, {}, ALONE | {"kafka": kafka})
        with site.running(ready=False) as running:
            assert running.wait() == exits.FATAL
    log = running.log.read_text()
    assert "SASL" in log.upper()
    assert found_in(log, SECRETS, ("me",)) == []


@pytest.mark.parametrize("command", ["run", "doctor", "config check", "config dump"])
def test_a_key_with_a_passphrase_is_refused_without_a_word_of_it(tmp_path: Path, command: str) -> None:
    key = tmp_path / "key.pem"
    phrase = SECRETS["passphrase"]
    made = trustme.CA().issue_cert("x")
    made.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    plain = serialization.load_pem_private_key(made.private_key_pem.bytes(), None)
    key.write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(phrase.encode()),
        )
    )
    (tmp_path / "c.yaml").write_text("{}\n")
    (tmp_path / "c.ini").write_text(
        f"[a]\ntype = ftp\nhost = 127.0.0.1\ntls = true\nuser = me\npass = {SECRETS['wrong']}\n"
        f"client_cert = {tmp_path / 'cert.pem'}\nclient_key = {key}\nkey_passphrase = {phrase}\n"
    )
    files = ["--config", str(tmp_path / "c.yaml"), "--connections", str(tmp_path / "c.ini")]
    done = subprocess.run(
        [sys.executable, "-m", "pooler", *command.split(), *files],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == exits.FATAL
    assert "client_cert" in done.stderr
    assert "key_passphrase" in done.stderr
    assert found_in(done.stdout + done.stderr, SECRETS, ("me",)) == []


def test_a_secret_that_is_told_is_found() -> None:
    secret, user = "p@ss/w0rd", "me"
    for form in forms(secret, user):
        assert found_in(f"x {form} y", {"it": secret}, (user,)) == ["it"]
    assert found_in("nothing", {"it": secret}, (user,)) == []
