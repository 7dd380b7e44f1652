"""What stands on the control topic reaches the remotes of every pod, and their sessions keep to it."""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import trio
from trio.testing import MockClock

from pooler.errors import ConnectError
from pooler.flow.steering import Steering
from pooler.model.control import Gone, Knob, Mode, Setting
from tests.support.control_double import TERMS, ControlLog
from tests.support.flow_double import FakeServer, Flow, Shape, always, download, downloads

TOTAL = 4


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - virtual time
        await trio.sleep(0.1)


@asynccontextmanager
async def pod(
    log: ControlLog, name: str, server: FakeServer, folder: Path, total: int | None = TOTAL
) -> AsyncIterator[tuple[Flow, Steering, trio.Nursery]]:
    (folder / name).mkdir()
    flow = Flow(folder / name, Shape(limit=TOTAL), far=server)
    steering = log.follow(name, far=total)
    steering.attach({"remote far": flow.remotes["far"].group}, flow.remotes)
    async with flow.running() as driving, trio.open_nursery() as nursery:
        nursery.start_soon(steering.run, log)
        await steering.ready.wait()
        yield flow, steering, driving
        nursery.cancel_scope.cancel()


async def test_all_pods_together_never_have_more_than_the_total_and_use_all_of_it(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    server, log = FakeServer(transfer_s=5.0), ControlLog()
    with trio.fail_after(1000):
        async with AsyncExitStack() as stack:
            flows = [(await stack.enter_async_context(pod(log, n, server, tmp_path)))[0] for n in "abc"]
            await flows[0].give(*downloads(40))
            await trio.sleep(12)
            assert len(server.open) == TOTAL  # nobody else has work
            for flow in flows[1:]:
                await flow.give(*downloads(40))
            await trio.sleep(30)
            assert sorted(flow.remotes["far"].sessions for flow in flows) == [1, 1, 2]
            await until(lambda: sum(len(flow.ended) for flow in flows) == 120)
            assert {outcome.attempts for flow in flows for outcome in flow.outcomes().values()} == {1}
    assert server.most == TOTAL


async def test_what_a_dead_pod_had_is_taken_once_it_cannot_have_it_any_more(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    server, log = FakeServer(transfer_s=1.0), ControlLog()
    with trio.fail_after(1000):
        async with pod(log, "alive", server, tmp_path) as (alive, steering, _):
            await alive.give(*downloads(1000))
            async with pod(log, "dead", server, tmp_path) as (dead, gone, _):
                await dead.give(*downloads(1000))
                await trio.sleep(20)
                assert dead.remotes["far"].sessions == alive.remotes["far"].sessions == 2
                log.cut_off(gone)
                died = trio.current_time()
                # It hears nothing of itself any more, and nobody else hears it.
                log_of_dead = ControlLog(broken=True)
                gone._pen = log_of_dead
                await until(lambda: dead.remotes["far"].sessions == 0)
                assert trio.current_time() - died <= TERMS.lease_s + 1
                assert alive.remotes["far"].sessions == 2
                await until(lambda: alive.remotes["far"].sessions == TOTAL)
                assert TERMS.lease_s < trio.current_time() - died <= TERMS.gone_after_s + 3
                assert dead.remotes["far"].sessions == 0
                log.begin(gone)
                gone._pen = log
                await trio.sleep(20)
                assert dead.remotes["far"].sessions == alive.remotes["far"].sessions == 2
                assert {outcome.attempts for outcome in dead.outcomes().values()} <= {1, 2}
                assert set(dead.codes().values()) == {"ok"}
            assert steering.deployment.pods
    assert server.most == TOTAL


async def test_a_job_that_is_broken_off_with_its_lease_loses_no_attempt(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    server, log = FakeServer(transfer_s=60.0), ControlLog()
    with trio.fail_after(1000):
        async with pod(log, "a", server, tmp_path) as (flow, steering, _):
            await flow.give(*downloads(1, retry_count=0))
            await trio.sleep(10)
            assert len(server.open) == 1
            steering.end()
            await trio.sleep(1)
            assert len(server.open) == 0
            assert flow.ended == []
            log.begin(steering)
            await until(lambda: bool(flow.ended))
            assert flow.codes() == {"far-0": "ok"}


async def test_who_slept_through_its_lease_begins_no_session(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    server, log = FakeServer(transfer_s=1.0), ControlLog()
    with trio.fail_after(1000):
        async with pod(log, "a", server, tmp_path) as (flow, _, _):
            await flow.give(*downloads(8))
            await trio.sleep(5)
            remote = flow.remotes["far"]
            until = remote.group.limit.share.until if remote.group.limit.share else 0.0
            assert remote.group.limit.current(until - 0.1) == TOTAL
            assert remote.group.limit.current(until) == 0
            assert not remote.group.has_one_for(remote, until)


async def test_what_is_wanted_holds_for_all_pods_and_for_those_that_come_later(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    server, log = FakeServer(transfer_s=1.0), ControlLog()
    with trio.fail_after(1000):
        async with (
            pod(log, "a", server, tmp_path, total=None) as (first, steering, _),
            pod(log, "b", server, tmp_path, total=None) as (second, _, _),
        ):
            await steering.want("far", Knob.WORK, Mode.PAUSE, by="anna", why="they asked")
            await steering.want("far", Knob.MAX_SESSIONS, 2, by="anna")
            assert all(flow.remotes["far"].paused for flow in (first, second))
            async with pod(log, "c", server, tmp_path, total=None) as (third, _, _):
                assert third.remotes["far"].paused
                assert third.remotes["far"].most == 2
                await third.give(*downloads(3))
                await trio.sleep(5)
                assert server.opened == 0
                await steering.want("far", Knob.WORK, Mode.RUN, by="anna")
                await trio.sleep(10)
                assert len(third.ended) == 3
                assert server.most == 2
            await steering.want("far", Knob.MAX_SESSIONS, None, by="anna")
            assert first.remotes["far"].most == 4
            found = steering.deployment.setting("far", Knob.WORK)
            assert found is not None
            assert (found.value, found.by) == (Mode.RUN, "anna")


async def test_a_total_that_an_operator_sets_counts_instead_of_the_configuration_s(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    server, log = FakeServer(transfer_s=1.0), ControlLog()
    with trio.fail_after(1000):
        async with pod(log, "a", server, tmp_path, total=None) as (flow, steering, _):
            await flow.give(*downloads(1000))
            await trio.sleep(5)
            assert len(server.open) == 4
            await steering.want("far", Knob.MAX_SESSIONS_TOTAL, 1, by="anna")
            await trio.sleep(5)
            assert len(server.open) == 1
            await steering.want("far", Knob.MAX_SESSIONS_TOTAL, None, by="anna")
            await trio.sleep(5)
            assert len(server.open) == 4


def rates(*flows: Flow) -> list[float | None]:
    return [flow.remotes["far"].group.bandwidth.bytes_per_s for flow in flows]


async def test_a_bandwidth_is_shared_by_those_who_move_something_and_never_given_twice(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    server, log, most = FakeServer(transfer_s=2.0), ControlLog(), 0.0

    async def watch(*flows: Flow) -> None:
        nonlocal most
        while True:
            most = max(most, sum(rate or 0.0 for rate in rates(*flows)))
            await trio.sleep(0.01)

    with trio.fail_after(1000):
        async with pod(log, "a", server, tmp_path, total=None) as (first, steering, _):
            async with (
                pod(log, "b", server, tmp_path, total=None) as (second, gone, _),
                trio.open_nursery() as watching,
            ):
                await steering.want("far", Knob.BANDWIDTH, 1_000_000, by="anna")
                watching.start_soon(watch, first, second)
                assert rates(first, second) == [0, 0]
                await first.give(*downloads(100))
                await trio.sleep(5)
                assert rates(first, second) == [1_000_000, 0]
                await second.give(*downloads(8))
                await trio.sleep(3)
                assert rates(first, second) == [500_000, 500_000]
                await until(lambda: len(second.ended) == 8)
                assert rates(first) == [500_000]
                await trio.sleep(15)
                assert rates(first, second) == [1_000_000, 0]  # it has had no work for long enough
                await first.give(*downloads(500))
                await second.give(*downloads(500))
                await trio.sleep(3)
                log.cut_off(gone)
                gone._pen = ControlLog(broken=True)
                died = trio.current_time()
                await until(lambda: rates(second) == [0])
                assert trio.current_time() - died <= TERMS.lease_s + 1
                assert rates(first) == [500_000]
                await until(lambda: rates(first) == [1_000_000])
                assert TERMS.lease_s < trio.current_time() - died <= TERMS.gone_after_s + 3
                log.begin(gone)
                gone._pen = log
                await until(lambda: rates(first, second) == [500_000, 500_000])
                assert most == 1_000_000
                watching.cancel_scope.cancel()
            await steering.want("far", Knob.BANDWIDTH, None, by="anna")
            assert rates(first) == [None]


async def test_what_runs_keeps_its_bandwidth_while_its_remote_begins_nothing(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    go_on = trio.Event()

    async def stall(path: str) -> None:
        if path == "/slow":
            await go_on.wait()

    server, log = FakeServer(transfer_s=2.0, on_transfer=stall), ControlLog()
    with trio.fail_after(1000):
        async with (
            pod(log, "a", server, tmp_path, total=None) as (first, steering, _),
            pod(log, "b", server, tmp_path, total=None) as (second, _, _),
        ):
            await steering.want("far", Knob.BANDWIDTH, 1_000_000, by="anna")
            await first.give(download("slow"))
            await second.give(*downloads(200))
            await trio.sleep(5)
            first.remotes["far"].pause()
            await trio.sleep(30)
            assert rates(first, second) == [500_000, 500_000]
            go_on.set()
            await trio.sleep(20)
            assert rates(first, second) == [0, 1_000_000]


async def test_a_total_that_is_read_again_holds_while_it_is_not_read_yet(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    server, log = FakeServer(transfer_s=1.0), ControlLog()
    with trio.fail_after(1000):
        async with pod(log, "a", server, tmp_path, total=None) as (flow, steering, _):
            await steering.want("far", Knob.MAX_SESSIONS_TOTAL, 1, by="anna")
            await flow.give(*downloads(100))
            await trio.sleep(5)
            server.most = len(server.open)
            steering.end()
            await trio.sleep(1)
            assert len(server.open) == 0
            log.cut_off(steering)
            steering.begin("again")
            await trio.sleep(5)
            assert len(server.open) == 0  # the total may stand further on: it does
            log.begin(steering)
            await trio.sleep(TERMS.gone_after_s + 5)  # its former life is counted for so long
            assert len(server.open) == server.most == 1


async def test_a_remote_is_tried_again_when_somebody_says_so_and_not_when_it_was_said_before(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    server, log = FakeServer(on_connect=always(lambda: ConnectError("away"))), ControlLog()
    await log.write(Setting("far", Knob.BREAKER, 1, "anna", 1.0))
    with trio.fail_after(1000):
        async with pod(log, "a", server, tmp_path, total=None) as (flow, steering, _):
            await flow.give(*downloads(1))
            await trio.sleep(20)
            assert flow.remotes["far"].breaker.opens_until is not None
            tried = len(server.connects)
            await steering.forgive("far", by="anna")
            await trio.sleep(0.1)
            assert len(server.connects) == tried + 1


async def test_pods_that_are_silent_are_told_of_and_later_forgotten(autojump_clock: MockClock) -> None:
    log = ControlLog()
    silent, alive = log.follow("silent"), log.follow("alive")
    with trio.fail_after(5000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alive.run, log)
            with trio.move_on_after(5):
                await silent.run(log)
            await trio.sleep(5)
            now = trio.current_time()
            assert {pod.news.pod: pod.is_silent(now) for pod in alive.deployment.pods.values()} == {
                "silent": True, "alive": False,
            }  # fmt: skip
            await trio.sleep(700)
            assert [pod.news.pod for pod in alive.deployment.pods.values()] == ["alive"]
            nursery.cancel_scope.cancel()
    assert (f"pod/{silent.incarnation}".encode(), None) in log.records


async def test_who_is_counted_as_gone_loses_what_it_holds_and_says_so(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    server, log = FakeServer(transfer_s=1.0), ControlLog()
    with trio.fail_after(1000):
        async with pod(log, "a", server, tmp_path) as (flow, steering, _):
            await flow.give(*downloads(1000))
            await trio.sleep(5)
            assert len(server.open) == TOTAL
            await log.write(Gone("pod", (steering.incarnation,)))
            assert flow.remotes["far"].group.limit.current(trio.current_time()) == 0
            await trio.sleep(5)
            assert len(server.open) == TOTAL
            await steering.leave()
            assert log.records[-1] == (f"pod/{steering.incarnation}".encode(), None)
