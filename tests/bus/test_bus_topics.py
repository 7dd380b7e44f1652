import pytest
import structlog
import trio_asyncio

from pooler.bus.clients import on_asyncio, reach
from pooler.bus.topics import Topic, check_topics, judge
from pooler.config.settings import KafkaSettings
from pooler.demo.broker import embedded_broker

SETTINGS = KafkaSettings()
DAY_S = 86400.0
GOOD = {
    "cleanup.policy": "delete",
    "retention.ms": "604800000",
    "retention.bytes": "-1",
    "min.insync.replicas": "2",
    "max.message.bytes": "1048588",
}


def topic(name: str, *, copies: int = 3, **changed: str | None) -> Topic:
    config = GOOD | {key.replace("_", "."): value for key, value in changed.items()}
    return Topic(
        name, copies=copies, config={key: value for key, value in config.items() if value is not None}
    )


@pytest.mark.parametrize("name", ["ftp-tasks", "ftp-results", "ftp-failures", "ftp-tasks-dlq"])
@pytest.mark.parametrize("retention_ms", ["604800000", "86400000", "-1"])
def test_topics_as_they_should_be(name: str, retention_ms: str) -> None:
    assert judge([topic(name, retention_ms=retention_ms)], SETTINGS, DAY_S) == []


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        (Topic("ftp-tasks", there=False), "stop", "there is none"),
        (Topic("ftp-results", there=False), "stop", "there is none"),
        (Topic("ftp-tasks", there=None), "warn", "we may not see it"),
        *(
            (topic(name, cleanup_policy=policy), "stop", f"cleanup.policy is {policy}: ")
            for name in ("ftp-tasks", "ftp-results", "ftp-failures", "ftp-tasks-dlq")
            for policy in ("compact", "compact,delete", "delete, compact")
        ),
        (topic("ftp-tasks", retention_ms="86399999"), "stop", "retention.ms is 86399999, and a job may wait"),
        (topic("ftp-tasks", retention_ms="0"), "stop", "expected at least 86400000"),
        (topic("ftp-tasks", retention_bytes="1000"), "warn", "retention.bytes is 1000: "),
        (topic("ftp-tasks", copies=1), "warn", "replication factor 1"),
        (topic("ftp-results", copies=1, min_insync_replicas="1"), "warn", "replication factor 1"),
        (topic("ftp-results", min_insync_replicas="1"), "warn", "min.insync.replicas is 1"),
        (topic("ftp-results", min_insync_replicas="4"), "stop", "min.insync.replicas is 4, with 3 in all"),
        (topic("ftp-failures", max_message_bytes="999999"), "warn", "less than kafka.max_record_bytes"),
        (topic("ftp-results", cleanup_policy=None), "warn", "we may not see cleanup.policy: "),
        (Topic("ftp-tasks", copies=3), "warn", "we may not see cleanup.policy, retention.ms, "),
    ],
)  # fmt: skip
def test_what_is_wrong(given: Topic, kind: str, text: str) -> None:
    (found,) = judge([topic("ftp-results"), given], SETTINGS, DAY_S)
    assert (found.kind, found.topic) == (kind, given.name)
    assert text in found.text
    assert str(found).startswith(f"topic {given.name}: ")


@pytest.mark.parametrize(
    "given",
    [
        # Who reads the answers decides how long they are kept.
        topic("ftp-results", retention_ms="1"),
        topic("ftp-results", retention_bytes="1"),
        # Who writes the jobs decides how safe they are.
        topic("ftp-tasks", min_insync_replicas="1"),
        topic("ftp-tasks", max_message_bytes="10"),
        # Nobody tells how many copies there are.
        topic("ftp-results", copies=0, min_insync_replicas="2"),
    ],
)
def test_what_is_not_ours_to_judge(given: Topic) -> None:
    assert judge([given], SETTINGS, DAY_S) == []


RETRY_TOPIC = "ftp-tasks-retry-1h"


@pytest.mark.parametrize("retention_ms", ["90000000", "604800000", "-1"])
def test_parked_jobs_are_kept_until_their_deadline_and_a_step_longer(retention_ms: str) -> None:
    assert judge([topic(RETRY_TOPIC, retention_ms=retention_ms)], SETTINGS, DAY_S) == []


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        (topic(RETRY_TOPIC, retention_ms="89999999"), "stop", "a job may wait 90000 s"),
        (topic(RETRY_TOPIC, cleanup_policy="compact"), "stop", "cleanup.policy is compact"),
        (topic(RETRY_TOPIC, min_insync_replicas="4"), "stop", "nothing could be written"),
        (topic(RETRY_TOPIC, max_message_bytes="999999"), "warn", "less than kafka.max_record_bytes"),
        (Topic(RETRY_TOPIC, there=False), "warn", "there is none"),
    ],
)
def test_what_is_wrong_with_a_retry_topic(given: Topic, kind: str, text: str) -> None:
    (found,) = judge([given], SETTINGS, DAY_S)
    assert (found.kind, found.topic) == (kind, RETRY_TOPIC)
    assert text in found.text


def test_jobs_may_be_kept_for_less_where_they_wait_for_less() -> None:
    assert judge([topic("ftp-tasks", retention_ms="3600000")], SETTINGS, 3600) == []


def test_everything_wrong_is_found_at_once() -> None:
    given = [
        topic("ftp-tasks", copies=1, cleanup_policy="compact", retention_ms="1"),
        topic("ftp-results", copies=1),
    ]
    found = judge(given, SETTINGS, DAY_S)
    assert [(one.kind, one.topic) for one in found] == [
        ("stop", "ftp-tasks"),
        ("stop", "ftp-tasks"),
        ("warn", "ftp-tasks"),
        ("stop", "ftp-results"),
        ("warn", "ftp-results"),
    ]


async def test_off_asks_nobody() -> None:
    nobody = KafkaSettings(bootstrap_servers=("127.0.0.1:1",), topic_checks="off", max_retries=0)
    with structlog.testing.capture_logs() as events:
        async with trio_asyncio.open_loop():
            assert await on_asyncio(check_topics, nobody, DAY_S) == []
    assert events == []


async def test_a_broker_that_does_not_tell_is_no_reason_to_stop() -> None:
    with embedded_broker() as bootstrap, structlog.testing.capture_logs() as events:
        settings = KafkaSettings(bootstrap_servers=(bootstrap,))
        async with trio_asyncio.open_loop():
            await on_asyncio(reach, settings)
            assert await on_asyncio(check_topics, settings, DAY_S) == []
    assert [event["event"] for event in events] == ["topics_unchecked"]
