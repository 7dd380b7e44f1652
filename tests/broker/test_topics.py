"""The checks of topics, on topics."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
import trio_asyncio
from pydantic import SecretStr

from pooler.bus.clients import on_asyncio
from pooler.bus.retry_topics import make_retry_topics
from pooler.bus.topics import Finding, check_topics
from pooler.config.settings import KafkaSettings
from pooler.errors import BrokerRefused, ConfigError, PoolerError
from tests.support.kafka import RunningBroker, create_topics, running_broker
from tests.support.kafka_secured import SecuredBroker, running_secured_broker

pytestmark = pytest.mark.broker

DAY_S = 86400.0
# The brokers are nobody in particular, and may do everything; whoever logs in may do nothing.
NO_RIGHTS = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    with running_broker(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture
def generous(tmp_path: Path) -> Iterator[RunningBroker]:
    with running_broker(tmp_path / "kafka", options={"auto.create.topics.enable": "true"}) as running:
        yield running


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[SecuredBroker]:
    with running_secured_broker(tmp_path, options=NO_RIGHTS) as running:
        yield running


def made(
    broker: RunningBroker, prefix: str, configs: Mapping[str, Mapping[str, str]], **more: str
) -> KafkaSettings:
    """Make topics, and the settings that name them."""
    for name, config in configs.items():
        create_topics(broker.bootstrap, {f"{prefix}-{name}": 2}, configs=config)
    names = {f"{key}_topic": f"{prefix}-{key}" for key in ("input", "result", "fail", "dlq")}
    given = {"bootstrap_servers": broker.bootstrap, "retry_delays_seconds": "", **names, **more}
    return KafkaSettings.model_validate(given)


async def checked(settings: KafkaSettings, deadline_s: float = DAY_S) -> list[Finding]:
    return list(await called(check_topics, settings, deadline_s))


async def called(function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """Call a function of the asyncio side; what it raises is in no group here."""
    with trio.fail_after(60):
        async with trio_asyncio.open_loop():
            try:
                return await on_asyncio(function, *args)
            except PoolerError as error:
                refusal = error
    raise refusal


GOOD: Mapping[str, Mapping[str, str]] = {"input": {}, "result": {}, "fail": {}, "dlq": {}}
BAD: Mapping[str, Mapping[str, str]] = {
    "input": {"cleanup.policy": "compact,delete", "retention.ms": "3600000", "retention.bytes": "1000000"},
    "result": {"cleanup.policy": "compact", "max.message.bytes": "500000"},
    "fail": {"min.insync.replicas": "2"},
}


async def test_topics_as_kafka_makes_them(broker: RunningBroker) -> None:
    settings = await trio.to_thread.run_sync(made, broker, "good", GOOD)
    found = await checked(settings)
    assert {(one.kind, one.text.split(":")[0]) for one in found} == {("warn", "replication factor 1")}
    assert [one.topic for one in found] == ["good-input", "good-result", "good-fail", "good-dlq"]


async def test_all_that_is_wrong_stops_us_at_once(broker: RunningBroker) -> None:
    settings = await trio.to_thread.run_sync(made, broker, "bad", BAD)
    with structlog.testing.capture_logs() as events, pytest.raises(ConfigError) as caught:
        await checked(settings)
    assert [problem.split(" is ")[0] for problem in caught.value.problems] == [
        "topic bad-input: cleanup.policy",
        "topic bad-input: retention.ms",
        "topic bad-result: cleanup.policy",
        "topic bad-fail: min.insync.replicas",
        "topic bad-dlq: there",
    ]
    warned = [event["reason"].split(" is ")[0] for event in events if event["log_level"] == "warning"]
    assert {"retention.bytes", "max.message.bytes"} <= set(warned)


async def test_or_it_is_said_and_no_more(broker: RunningBroker) -> None:
    settings = await trio.to_thread.run_sync(
        lambda: made(broker, "warned", BAD, topic_checks="warn", input_topic="warned-input")
    )
    with structlog.testing.capture_logs() as events:
        found = await checked(settings)
    assert [one.kind for one in found].count("stop") == 5
    assert [event["reason"] for event in events] == [one.text for one in found]


async def test_retention_is_measured_against_the_longest_deadline(broker: RunningBroker) -> None:
    kept = {**GOOD, "input": {"retention.ms": "7200000"}}
    settings = await trio.to_thread.run_sync(made, broker, "kept", kept)
    assert {one.kind for one in await checked(settings, 7200)} == {"warn"}
    with pytest.raises(ConfigError, match="a job may wait 7201 s"):
        await checked(settings, 7201)


async def test_brokers_that_make_topics_make_them_when_asked(generous: RunningBroker) -> None:
    found = await checked(KafkaSettings(bootstrap_servers=(generous.bootstrap,)))
    assert {one.kind for one in found} == {"warn"}


async def test_who_may_not_look_is_told_so_and_goes_on(strict: SecuredBroker) -> None:
    found = await checked(KafkaSettings(**strict.by_password("PLAIN"), retry_delays_seconds=()))
    assert [(one.kind, one.topic) for one in found] == [
        ("warn", name) for name in ("ftp-tasks", "ftp-results", "ftp-failures", "ftp-tasks-dlq")
    ]
    assert {one.text for one in found} == {"we may not see it: expected the right to describe it"}


async def test_who_is_not_let_in_is_not_let_off_with_a_warning(broker: RunningBroker) -> None:
    settings = KafkaSettings(
        bootstrap_servers=(broker.bootstrap,),
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_username="u",
        sasl_password=SecretStr("p"),
    )
    with pytest.raises(BrokerRefused):
        await checked(settings)


# ---- the retry topics ---------------------------------------------------------------------------------


async def test_retry_topics_that_are_missing_are_made_and_are_as_they_should_be(
    broker: RunningBroker,
) -> None:
    settings = await trio.to_thread.run_sync(
        lambda: made(broker, "parking", GOOD, retry_delays_seconds="10, 3600", retry_partitions="4")
    )
    found = await checked(settings)
    assert {(one.topic, one.text.split(":")[0]) for one in found if one.topic in settings.retry_topics} == {
        ("parking-input-retry-10s", "there is none yet"),
        ("parking-input-retry-1h", "there is none yet"),
    }
    made_first = [(f"parking-input-{name}", 2) for name in ("retry-10s", "retry-1h", "batches")]
    for expected in (made_first, []):
        # The second pod finds them there.
        with structlog.testing.capture_logs() as events:
            await called(make_retry_topics, settings, DAY_S)
        made_now = [event for event in events if event["event"] == "retry_topic_made"]
        assert [(event["topic"], event["partitions"]) for event in made_now] == expected
        found = await checked(settings)
        assert {(one.kind, one.text.split(":")[0]) for one in found} == {("warn", "replication factor 1")}


async def test_two_pods_that_begin_together_make_them_once(broker: RunningBroker) -> None:
    settings = await trio.to_thread.run_sync(
        lambda: made(broker, "together", GOOD, retry_delays_seconds="10")
    )
    with trio.fail_after(60):
        async with trio_asyncio.open_loop(), trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(on_asyncio, make_retry_topics, settings, DAY_S)
    assert {one.kind for one in await checked(settings)} == {"warn"}
