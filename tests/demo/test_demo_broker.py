import json
from typing import Any

import pytest
import trio

from pooler.bus.submit import submit
from pooler.config.settings import KafkaSettings
from pooler.demo.answers import Answers, collect
from pooler.demo.broker import embedded_broker
from pooler.demo.errors import DemoFailed


def answer(task_id: str, **fields: Any) -> bytes:
    return json.dumps(
        {"task_id": task_id, "status": "success", "src_id": "site-a", "dst_id": "local", **fields}
        | {"bytes_transferred": 10}
    ).encode()


@pytest.mark.parametrize("brokers", [1, 3])
def test_a_cluster_has_so_many_servers(brokers: int) -> None:
    with embedded_broker(brokers) as bootstrap:
        assert len(set(bootstrap.split(","))) == brokers
        assert all(server.startswith("127.0.0.1:") for server in bootstrap.split(","))


async def test_what_is_written_is_collected() -> None:
    with embedded_broker() as bootstrap:
        answers = Answers()
        kafka = KafkaSettings.model_validate({"bootstrap_servers": bootstrap})
        async with trio.open_nursery() as nursery:
            await nursery.start(collect, kafka, answers)
            for topic in (kafka.result_topic, kafka.fail_topic):
                written = [(None, answer(f"{topic}-{number}")) for number in range(50)]
                await submit(kafka.model_copy(update={"input_topic": topic}), written)
            await answers.reach(100)
            nursery.cancel_scope.cancel()
    assert answers.done == {"site-a": 100}
    assert answers.size_bytes == 1000
    assert answers.dead_letters == answers.repeated == 0


async def test_dead_letters_are_counted() -> None:
    with embedded_broker() as bootstrap:
        answers = Answers()
        kafka = KafkaSettings.model_validate({"bootstrap_servers": bootstrap})
        dead = kafka.model_copy(update={"input_topic": kafka.dlq_topic})
        await submit(dead, [(None, b"no JSON")])
        await submit(kafka.model_copy(update={"input_topic": kafka.result_topic}), [(None, answer("x"))])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, kafka, answers)
            while not answers.dead_letters:
                await answers._changed.wait()
            await answers.reach(1)
            nursery.cancel_scope.cancel()


def test_a_second_answer_is_told_from_the_first() -> None:
    answers = Answers()
    answers.take(answer("a", src_id="local", dst_id="site-b"))
    answers.take(answer("a", status="failed"))
    assert answers.repeated == 1
    assert answers.by_job["a"]["status"] == "success"
    assert answers.done == {"site-b": 1}


async def test_waiting_ends_with_the_last_answer(autojump_clock: trio.testing.MockClock) -> None:
    answers = Answers()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answers.reach, 2)
        for task_id in ("a", "b"):
            await trio.sleep(20)  # less than a stall, as long as something comes
            answers.take(answer(task_id))
    assert autojump_clock.current_time() == pytest.approx(40)


async def test_standing_still_is_an_error(autojump_clock: trio.testing.MockClock) -> None:
    answers = Answers()
    answers.take(answer("a"))
    with pytest.raises(DemoFailed, match="no answer for 30 s, after 1"):
        await answers.reach(2)
    assert autojump_clock.current_time() == pytest.approx(30)
