"""What one pod asks of all others over the control topic: answered by each, and taken back again."""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import trio
from trio.testing import MockClock

from pooler.flow.steering import Steering
from pooler.model.control import Ask, Tell
from tests.support.control_double import ControlLog


@asynccontextmanager
async def pods(log: ControlLog, *names: str) -> AsyncIterator[list[Steering]]:
    """Have pods, each of which answers with its name and what it was asked, but for ``hard`` questions."""

    def follow(name: str) -> Steering:
        async def answer(what: str, query: Mapping[str, Any]) -> bytes:
            if what == "hard":
                raise LookupError(f"{name} does not know")
            await trio.sleep(query.get("after_s", 0.0))
            return json.dumps([name, what]).encode()

        steering = log.follow(name)
        steering.inquiries.answer = answer
        return steering

    async with AsyncExitStack() as stack:
        followed = [follow(name) for name in names]
        nursery = await stack.enter_async_context(trio.open_nursery())
        for steering in followed:
            nursery.start_soon(steering.run, log)
            await steering.ready.wait()
        await trio.sleep(2)  # each is announced to all
        yield followed
        nursery.cancel_scope.cancel()


def standing(log: ControlLog) -> list[bytes]:
    return [k for k, v in dict(log.records).items() if v is not None and k.startswith((b"ask/", b"tell/"))]


async def test_every_other_pod_answers_and_nothing_is_left_on_the_topic(autojump_clock: MockClock) -> None:
    log = ControlLog()
    async with pods(log, "a", "b", "c") as (asking, *_):
        began = trio.current_time()
        told, silent = await asking.ask("weather", {"where": "here"}, 5.0)
        assert sorted(json.loads(one.body or b"") for one in told.values()) == [
            ["b", "weather"],
            ["c", "weather"],
        ]
        assert (silent, trio.current_time() - began < 1) == ((), True)
        await trio.sleep(1)
        assert standing(log) == []


async def test_who_says_nothing_in_time_is_named(autojump_clock: MockClock) -> None:
    log = ControlLog()
    async with pods(log, "a", "b", "c") as (asking, frozen, late):
        late_answer = late.inquiries.answer
        assert late_answer is not None
        late.inquiries.answer = lambda what, _: late_answer(what, {"after_s": 60.0})
        log.cut_off(frozen)
        began = trio.current_time()
        told, silent = await asking.ask("weather", {}, 3.0)
        assert (told, silent) == ({}, ("b", "c"))
        assert 2.9 < trio.current_time() - began < 3.5


async def test_what_a_pod_cannot_answer_it_says(autojump_clock: MockClock) -> None:
    async with pods(ControlLog(), "a", "b") as (asking, _):
        told, silent = await asking.ask("hard", {}, 3.0)
        assert [(one.pod, one.body, one.error) for one in told.values()] == [("b", None, "b does not know")]
        assert silent == ()


async def test_nobody_is_asked_where_there_is_nobody(autojump_clock: MockClock) -> None:
    log = ControlLog()
    async with pods(log, "a") as (alone,):
        assert await alone.ask("weather", {}, 3.0) == ({}, ())
        assert not any(key.startswith(b"ask/") for key, _ in log.records)


async def test_a_question_of_the_past_is_not_answered_and_is_swept_in_the_end(
    autojump_clock: MockClock,
) -> None:
    log = ControlLog()
    await log.write(Ask("old", "dead", 1.0, "weather"))
    await log.write(Tell("old", "dead", "z", 1.0, b"[]"))
    async with pods(log, "a", "b"):
        assert standing(log) == [b"ask/old", b"tell/old/dead"]
        await trio.sleep(700)
        assert standing(log) == []


async def test_questions_at_once_each_get_their_own_answers(autojump_clock: MockClock) -> None:
    async with pods(ControlLog(), "a", "b") as (one, other):
        answers: list[Any] = []

        async def ask(by: Steering, what: str) -> None:
            told, _ = await by.ask(what, {"after_s": 0.5}, 30.0)
            answers.extend(json.loads(tell.body or b"") for tell in told.values())

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(ask, one, f"x{number}")
            nursery.start_soon(ask, other, "y")
        assert sorted(answers) == sorted([["a", "y"], *(["b", f"x{number}"] for number in range(20))])
