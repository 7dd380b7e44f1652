"""The two pumps against Kafka itself: rebalances, gaps, windows, and a broker that goes away."""

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio_asyncio
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from pooler.bus import clients
from pooler.bus.bridge import KafkaBridge, open_bridge
from pooler.bus.ledger import Ledger, Partition, decode_gaps, encode_gaps
from pooler.bus.offsets import Offsets
from pooler.bus.sink import KafkaSink
from pooler.bus.source import Answer, KafkaSource
from pooler.bus.stable import fetch_stable
from pooler.bus.start import Start
from pooler.config.settings import KafkaSettings
from pooler.model.job import Delivery
from pooler.model.outcome import Ended, Outcome, Status
from pooler.ops.metrics import Metrics
from tests.support.kafka import Message, RunningBroker, committed, create_topics, produce, running_broker
from tests.support.servers import RunningServer, running_server
from tests.support.service import TOPICS, Site, wait_until

pytestmark = pytest.mark.broker


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with running_broker(tmp_path / "kafka") as running:
        yield running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    # 1 MB/s for each session: 100 kB take a tenth of a second.
    with running_server("vsftpd", tmp_path / "vsftpd", rate_bytes_s=1_000_000) as running:
        running.put("/there", bytes(100_000))
        yield running


def job(number: int, remote: str = "far") -> bytes:
    ends = {"src_id": remote, "src_path": "/there", "dst_id": "local", "dst_path": f"/in/{number}"}
    return json.dumps({"task_id": str(number), **ends}).encode()


class Watch:
    """What a group has committed, looked at again and again: it never goes back."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._seen: dict[tuple[str, int], int] = {}

    def answered(self, count: int) -> bool:
        for partition, (offset, _) in self._site.committed().items():
            assert offset >= self._seen.get(partition, 0), f"{partition} went back"
            self._seen[partition] = offset
        return len(self._site.answers()) >= count


def twice(answers: dict[str, list[Any]]) -> list[str]:
    return [task_id for task_id, found in answers.items() if len(found) > 1]


def test_a_second_member_comes_and_goes_and_every_job_is_answered_once(
    tmp_path: Path, broker: RunningBroker, server: RunningServer
) -> None:
    # Folders of one name: one group.
    first = Site(tmp_path / "first" / "site", broker.bootstrap, {"far": server})
    second = Site(tmp_path / "second" / "site", broker.bootstrap, {"far": server})
    first.create_topics()
    watch = Watch(first)
    with first.running() as staying:
        produce(broker.bootstrap, "ftp-tasks", [Message(job(n), partition=n % 4) for n in range(1200)])
        wait_until(lambda: watch.answered(100), "the first answers")
        with second.running() as leaving:
            wait_until(lambda: leaving.get("/v1/status")["succeeded"] >= 50, "a share for the second member")
            # Those of the jobs are shared out by themselves, and so are those of the parked ones.
            has = [held["topic"] == "ftp-tasks" for held in leaving.get("/v1/status")["partitions"]]
            assert (has.count(True), has.count(False)) == (2, 2)
            assert watch.answered(100)
            leaving.signal(signal.SIGTERM)
            assert leaving.wait() == 0
        wait_until(lambda: watch.answered(1200), "all answers")
        staying.signal(signal.SIGTERM)
        assert staying.wait() == 0
    answers = first.answers()
    assert len(answers) == 1200
    assert twice(answers) == []
    assert {found[0]["status"] for found in answers.values()} == {"success"}
    assert sum(offset for offset, _ in first.committed().values()) == 1200


def test_jobs_done_above_the_watermark_are_not_done_again_after_a_kill(
    tmp_path: Path, broker: RunningBroker, server: RunningServer
) -> None:
    site = Site(tmp_path / "site", broker.bootstrap, {"far": server, "held": server})
    site.create_topics()
    jobs = [Message(job(n, "held" if n % 10 == 0 else "far"), partition=0) for n in range(60)]
    with site.running() as running:
        assert running.post("/v1/remotes/held/pause") == 200
        produce(broker.bootstrap, "ftp-tasks", jobs)
        site.wait_for_answers(54)

        def on_record() -> bool:
            offset, metadata = site.committed()["ftp-tasks", 0]
            return offset == 0 and len(decode_gaps(offset, metadata)) == 54

        wait_until(on_record, "the gaps to be on record")
        running.signal(signal.SIGKILL)
        running.wait()
    for path in (site.local / "in").iterdir():
        path.unlink()
    with site.running() as running:
        assert running.post("/v1/remotes/held/resume") == 200  # what was paused stays so, across a restart
        site.wait_for_answers(60)
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
    assert twice(site.answers()) == []
    # Nobody has copied the others again.
    assert {path.name for path in (site.local / "in").iterdir()} == {"0", "10", "20", "30", "40", "50"}
    assert site.committed()["ftp-tasks", 0][0] == 60


def test_a_broker_that_is_away_for_ten_seconds_costs_nothing(
    tmp_path: Path, broker: RunningBroker, server: RunningServer
) -> None:
    site = Site(tmp_path / "site", broker.bootstrap, {"far": server})
    site.create_topics()
    with site.running() as running:
        produce(broker.bootstrap, "ftp-tasks", [Message(job(n), partition=n % 4) for n in range(600)])
        wait_until(lambda: running.get("/v1/status")["succeeded"] >= 100, "the middle")
        broker.kill()
        time.sleep(10)  # what is tested is how long it is away
        assert running.process.poll() is None
        broker.start()
        produce(broker.bootstrap, "ftp-tasks", [Message(job(n), partition=n % 4) for n in range(600, 700)])
        answers = site.wait_for_answers(700)
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
    assert {found[0]["status"] for found in answers.values()} == {"success"}
    assert sum(offset for offset, _ in site.committed().values()) == 700


async def test_a_window_bounds_what_is_in_hand_and_all_is_done_in_the_end(broker: RunningBroker) -> None:
    settings = KafkaSettings(
        bootstrap_servers=(broker.bootstrap,), window_records=200, max_poll_records=50, commit_interval_ms=50
    )
    await trio.to_thread.run_sync(create_topics, broker.bootstrap, TOPICS)
    await trio.to_thread.run_sync(produce, broker.bootstrap, "ftp-tasks", [job(n) for n in range(5000)])
    most = 0
    to_sink, answers = trio.open_memory_channel[Answer](1000)
    to_flow, deliveries = trio.open_memory_channel[Delivery](5000)

    async def flow(bridge: KafkaBridge) -> None:
        nonlocal most
        with to_sink:
            for _ in range(5000):
                delivery = await deliveries.receive()
                most = max(most, bridge.ledger.load.records)
                await to_sink.send(Ended(delivery, Outcome(Status.SUCCESS)))
        source.stop()

    with trio.fail_after(60):
        async with open_bridge(settings, 86_400) as bridge:
            source = KafkaSource(bridge)
            sink = KafkaSink(
                bridge, worker="w", interval_s=0.05, limit_bytes=1_000_000, metrics=Metrics("0", [])
            )
            # First nobody answers: what is in hand fills up to the window, and stays there.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sink.run, answers)
                nursery.start_soon(source.run, to_flow, to_sink.clone())
                while bridge.ledger.load.records < 200:  # noqa: ASYNC110 - nobody tells
                    await trio.sleep(0.05)
                await trio.sleep(1)  # a second in which nothing more may come
                assert bridge.ledger.load.records < 250
                nursery.start_soon(flow, bridge)
            assert bridge.ledger.load.records == 0
            assert {position.lag for position in bridge.positions()} == {0}
    assert 200 <= most < 250
    offsets = await trio.to_thread.run_sync(committed, broker.bootstrap, settings.consumer_group)
    assert sum(offset for offset, _ in offsets.values()) == 5000


async def test_what_we_take_from_inside_aiokafka_is_still_there(broker: RunningBroker) -> None:
    """The canary: `Offsets` needs private names, which an update of aiokafka may change."""
    await trio.to_thread.run_sync(create_topics, broker.bootstrap, {"ftp-tasks": 2})
    await trio.to_thread.run_sync(
        produce, broker.bootstrap, "ftp-tasks", [Message(job(n), partition=0) for n in range(5)]
    )
    settings = KafkaSettings(bootstrap_servers=(broker.bootstrap,))
    places = [TopicPartition("ftp-tasks", number) for number in range(2)]

    async def on_asyncio() -> dict[Partition, Start]:
        consumer = clients.make_consumer(settings)
        await consumer.start()
        try:
            consumer.assign(places)
            await consumer.commit({places[0]: OffsetAndMetadata(2, encode_gaps(2, {4}))})
            offsets = Offsets(consumer, Ledger(), settings)
            offsets.rejoin()
            return await offsets.fetch([(place.topic, place.partition) for place in places])
        finally:
            await consumer.stop()  # noqa: ASYNC102 - asyncio's

    with trio.fail_after(30):
        async with trio_asyncio.open_loop():
            starts = await clients.on_asyncio(on_asyncio)
    found = {partition: (start.offset, start.settled, start.stopped) for partition, start in starts.items()}
    assert found == {("ftp-tasks", 0): (2, {4}, None), ("ftp-tasks", 1): (0, set(), None)}


async def test_an_offset_that_a_transaction_is_about_to_change_is_waited_for(broker: RunningBroker) -> None:
    await trio.to_thread.run_sync(create_topics, broker.bootstrap, {"ftp-tasks": 1})
    settings = KafkaSettings(bootstrap_servers=(broker.bootstrap,))
    place = TopicPartition("ftp-tasks", 0)

    async def on_asyncio() -> tuple[bool, OffsetAndMetadata]:
        consumer = clients.make_consumer(settings)
        producer = clients.make_producer(settings, transactional_id="somebody")
        await consumer.start()
        await producer.start()
        try:
            await producer.begin_transaction()
            offsets = {place: OffsetAndMetadata(7, "beside")}
            await producer.send_offsets_to_transaction(offsets, settings.consumer_group)
            asking = asyncio.ensure_future(fetch_stable(consumer, [place]))
            early, _ = await asyncio.wait({asking}, timeout=1)
            await producer.commit_transaction()
            return bool(early), (await asking)[place]
        finally:
            await producer.stop()  # noqa: ASYNC102 - asyncio's
            await consumer.stop()  # noqa: ASYNC102 - asyncio's

    with trio.fail_after(30):
        async with trio_asyncio.open_loop():
            early, found = await clients.on_asyncio(on_asyncio)
    assert not early
    assert found == OffsetAndMetadata(7, "beside")
