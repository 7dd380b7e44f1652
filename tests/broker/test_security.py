"""In at a broker that lets in only whom it knows, by each way of saying who we are; and all ways to fail."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
import trio_asyncio

from pooler.bus import clients
from pooler.config.settings import KafkaSettings
from pooler.errors import BrokerRefused, BusError
from tests.support.kafka import create_topics, produce, read_topic
from tests.support.kafka_secured import PASSWORD, SecuredBroker, running_secured_broker
from tests.support.service import Site, wait_until

pytestmark = pytest.mark.broker

WRONG = "another-pass-phrase"
JOB = {"task_id": "1", "src_id": "nowhere", "src_path": "/a", "dst_id": "local", "dst_path": "/a"}

Way = Callable[[SecuredBroker], dict[str, Any]]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    with running_secured_broker(tmp_path_factory.mktemp("secured")) as running:
        yield running


def by_file(broker: SecuredBroker) -> dict[str, Any]:
    path = broker.folder / "password"
    path.write_text(f"{PASSWORD}\n")
    return broker.by_password("SCRAM-SHA-256", sasl_password=None, sasl_password_file=str(path))


def in_the_clear(broker: SecuredBroker) -> dict[str, Any]:
    return {
        **broker.by_password("SCRAM-SHA-512"),
        "bootstrap_servers": f"127.0.0.1:{broker.sasl_plaintext}",
        "security_protocol": "SASL_PLAINTEXT",
        "ssl_ca_location": None,
    }


WAYS: dict[str, Way] = {
    "plain": lambda broker: broker.by_password("PLAIN"),
    "scram-256-file": by_file,
    "scram-512": lambda broker: broker.by_password("scram-sha-512"),
    "scram-in-the-clear": in_the_clear,
    "certificate": lambda broker: broker.by_certificate(),
    "other-name": lambda broker: broker.by_certificate(
        bootstrap_servers=f"localhost:{broker.ssl}", ssl_endpoint_identification_algorithm="none"
    ),
}


@pytest.mark.parametrize(
    ("way", "delivery"), [*((way, "exactly_once") for way in WAYS), ("plain", "at_least_once")]
)
def test_jobs_go_in_and_answers_come_out(
    tmp_path: Path, broker: SecuredBroker, way: str, delivery: str
) -> None:
    names = {
        key: f"{way}-{delivery}-{key}" for key in ("input_topic", "result_topic", "fail_topic", "dlq_topic")
    }
    create_topics(broker.plain.bootstrap, dict.fromkeys(names.values(), 1))
    site = Site(
        tmp_path / f"{way}-{delivery}",
        broker.plain.bootstrap,
        {},
        {"kafka": {**WAYS[way](broker), **names, "delivery": delivery}},
    )
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text(json.dumps(JOB))
    submitted = subprocess.run(
        site.command("job", "submit", str(jobs)), capture_output=True, text=True, check=False
    )
    assert submitted.stdout == f"submitted 1 jobs to {names['input_topic']}\n"
    produce(broker.plain.bootstrap, names["input_topic"], [b"no job"])
    with site.running() as running:
        wait_until(lambda: bool(read_topic(broker.plain.bootstrap, names["fail_topic"])), "the answer")
        wait_until(lambda: bool(read_topic(broker.plain.bootstrap, names["dlq_topic"])), "the dead letter")
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
    assert site.committed()[names["input_topic"], 0][0] == 2
    assert PASSWORD not in running.log.read_text() + submitted.stderr
    warned = [event["warning"] for event in running.events() if event["event"] == "configuration"]
    expected = {"scram-in-the-clear": "kafka.security_protocol", "other-name": "kafka.ssl_endpoint_"}
    assert ["kafka." in line for line in warned] == [True] * (way in expected)
    assert all(expected[way] in line for line in warned)


REFUSED: dict[str, tuple[Way, str]] = {
    "wrong-password-plain": (
        lambda broker: broker.by_password("PLAIN", sasl_password=WRONG),
        "refused us: user 'clerk' with PLAIN: ",
    ),
    "wrong-password-scram": (
        lambda broker: broker.by_password("SCRAM-SHA-512", sasl_password=WRONG),
        "refused us: user 'clerk' with SCRAM-SHA-512: ",
    ),
    "wrong-user": (
        lambda broker: broker.by_password("SCRAM-SHA-256", sasl_username="nobody"),
        "refused us: user 'nobody' with SCRAM-SHA-256: ",
    ),
    "wrong-authority": (
        lambda broker: broker.by_password("PLAIN", ssl_ca_location=str(broker.folder / "other-ca.pem")),
        "its certificate is not trusted: unable to get local issuer certificate",
    ),
    "wrong-host-name": (
        lambda broker: broker.by_certificate(bootstrap_servers=f"localhost:{broker.ssl}"),
        "certificate is not trusted: Hostname mismatch, certificate is not valid for 'localhost'",
    ),
    "wrong-host-name-that-it-gives-itself": (
        lambda broker: broker.by_certificate(bootstrap_servers=f"127.0.0.1:{broker.misnamed}"),
        "certificate is not trusted: Hostname mismatch, certificate is not valid for 'localhost'",
    ),
    "no-certificate": (
        lambda broker: broker.by_certificate(ssl_certificate_location=None),
        "it wants to see a certificate of ours that it trusts",
    ),
    "no-login-wanted": (
        lambda broker: {**in_the_clear(broker), "bootstrap_servers": broker.plain.bootstrap},
        "it wants no login: kafka.security_protocol is SASL_PLAINTEXT: is that what",
    ),
}


def site_of(tmp_path: Path, broker: SecuredBroker, settings: dict[str, Any]) -> Site:
    patience = {"max_retries": 2, "base_backoff_ms": 10, "max_backoff_ms": 10}
    return Site(tmp_path / "site", broker.plain.bootstrap, {}, {"kafka": {**settings, **patience}})


@pytest.mark.parametrize("case", REFUSED)
async def test_a_refusal_says_why(broker: SecuredBroker, case: str) -> None:
    way, why = REFUSED[case]
    settings = KafkaSettings(**way(broker))
    with trio.fail_after(30):
        async with trio_asyncio.open_loop():
            with pytest.raises(BrokerRefused) as caught:
                await clients.on_asyncio(clients.reach, settings)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
    assert WRONG not in str(caught.value)


@pytest.mark.parametrize("case", ["wrong-password-scram", "wrong-host-name"])
def test_who_is_refused_ends_and_does_not_try_for_ever(
    tmp_path: Path, broker: SecuredBroker, case: str
) -> None:
    way, why = REFUSED[case]
    site = site_of(tmp_path, broker, way(broker))
    before = broker.refusals()
    with site.running(ready=False) as running:
        assert running.wait() == 7
    log = running.log.read_text()
    *lines, last = log.splitlines()
    (event,) = [line for line in map(json.loads, lines) if line["event"] == "broker_refused"]
    assert why in event["error"]
    assert why in last
    assert "broker_unreachable" not in log
    assert "Traceback" not in log
    assert WRONG not in log
    assert PASSWORD not in log
    assert broker.refusals() - before <= 2


def test_a_wrong_password_is_shown_once_and_nothing_is_submitted(
    tmp_path: Path, broker: SecuredBroker
) -> None:
    way, why = REFUSED["wrong-password-plain"]
    site = site_of(tmp_path, broker, way(broker))
    before = broker.refusals()
    done = subprocess.run(
        site.command("job", "submit", "-"), input=json.dumps(JOB), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (7, "")
    assert why in done.stderr.splitlines()[-1]
    assert done.stderr.count("broker_refused") == 1
    assert "Traceback" not in done.stderr
    assert WRONG not in done.stderr
    wait_until(lambda: broker.refusals() > before, "the broker's own count")
    assert broker.refusals() - before == 1


@pytest.mark.parametrize(
    ("way", "why"),
    [
        (lambda broker: broker.by_certificate(bootstrap_servers=broker.plain.bootstrap), "is SSL: is that"),
        (lambda broker: {"bootstrap_servers": f"127.0.0.1:{broker.ssl}"}, "is PLAINTEXT: is that"),
        (lambda broker: {"bootstrap_servers": f"127.0.0.1:{broker.sasl_plaintext}"}, "is PLAINTEXT: is that"),
    ],
    ids=["tls-to-plain", "plain-to-tls", "no-login"],
)
async def test_a_listener_that_speaks_otherwise_is_tried_again(
    broker: SecuredBroker, way: Way, why: str
) -> None:
    settings = KafkaSettings(**way(broker), max_retries=2, base_backoff_ms=1, max_backoff_ms=1)
    with trio.fail_after(30), structlog.testing.capture_logs() as events:
        async with trio_asyncio.open_loop():
            with pytest.raises(BusError, match=f"closed the connection: kafka.security_protocol {why}"):
                await clients.on_asyncio(clients.reach, settings)
    assert [event["event"] for event in events] == ["broker_unreachable"] * 3
    assert [event["log_level"] for event in events] == ["warning", "warning", "error"]


def test_a_password_is_read_anew_by_each_client(tmp_path: Path, broker: SecuredBroker) -> None:
    settings = by_file(broker)
    password = Path(settings["sasl_password_file"])
    names = {key: f"anew-{key}" for key in ("input_topic", "result_topic", "fail_topic", "dlq_topic")}
    create_topics(broker.plain.bootstrap, dict.fromkeys(names.values(), 1))
    password.write_text(f"{WRONG}\n")
    site = site_of(tmp_path, broker, {**settings, **names})
    with site.running(ready=False) as running:
        assert running.wait() == 7
    password.write_text(f"{PASSWORD}\nwhat stands below does not count\n")
    with site.running() as running:
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
