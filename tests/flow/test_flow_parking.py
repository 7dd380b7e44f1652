"""Jobs that are parked instead of waiting in memory, in virtual time."""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments

from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from pooler.errors import ConnectError, DataConnectionError, LoginRefused
from pooler.flow.breaker import Thresholds
from pooler.flow.lane import Lane
from pooler.flow.retry import Backoff
from pooler.model.job import Delivery, Job, Origin
from pooler.model.outcome import Parked
from pooler.storage.control import FOLDER
from tests.support.flow_double import FakeServer, Flow, Shape, always, download, downloads, failing, upload

DELAYS_S = (10.0, 60.0, 600.0, 3600.0)
DAY_S = 86_400.0


def shape(**more: Any) -> Shape:
    given: dict[str, Any] = {
        "delays_s": DELAYS_S,
        "deadline_s": DAY_S,
        "thresholds": Thresholds(failures=3, successes=1, timeout_s=60.0, probes=1),
        "lane_room": 20_000,
    }
    return Shape(**(given | more))


def gone() -> FakeServer:
    """A server that takes connections no more."""
    return FakeServer(on_connect=always(lambda: ConnectError("refused")))


class Topics:
    """The input topic and the retry topics, read as far as the window has room.

    Attributes:
        flow: what reads them.
        most: the most jobs that were in hand.
    """

    def __init__(self, flow: Flow, jobs: Sequence[Job], every_s: float) -> None:
        self.flow = flow
        self._every_s = every_s
        self.most = 0
        self._jobs = list(reversed(jobs))
        self._seen = 0
        self._due: defaultdict[float, deque[tuple[float, Parked]]] = defaultdict(deque)

    async def run(self) -> None:
        while True:
            now = trio.current_time()
            for parked in self.flow.parked[self._seen :]:
                self._due[parked.delay_s].append((now + parked.delay_s, parked))
                self._seen += 1
            room = min(500, self.flow.window.size - self.flow.window.in_hand())
            batch: list[Delivery] = []
            for topic in self._due.values():
                while topic and topic[0][0] <= now and len(batch) < room // 2:
                    batch.append(self.flow.read_again(topic.popleft()[1]))
            while self._jobs and len(batch) < room:
                batch.append(self.flow.delivery(self._jobs.pop()))
            if batch:
                await self.flow.deliver(batch)
            self.most = max(self.most, self.flow.window.in_hand())
            await trio.sleep(self._every_s)

    async def ended(self, count: int, remote: str = "") -> None:
        """Wait until so many jobs are answered, of one remote or of all."""
        while (  # noqa: ASYNC110 - nobody tells
            sum(ended.delivery.job.source.remote.startswith(remote) for ended in self.flow.ended) < count
        ):
            await trio.sleep(self._every_s)


@asynccontextmanager
async def reading(flow: Flow, jobs: Sequence[Job], every_s: float = 0.1) -> AsyncIterator[Topics]:
    topics = Topics(flow, jobs, every_s)
    async with flow.running(), trio.open_nursery() as nursery:
        nursery.start_soon(topics.run)
        yield topics
        nursery.cancel_scope.cancel()


# ---- a server that is away ----------------------------------------------------------------------------


async def test_ten_thousand_jobs_of_a_dead_server_stop_nobody(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    flow = Flow(tmp_path, shape(window=2_000, limit=8), dead=gone(), near=FakeServer(transfer_s=0.1))
    jobs = downloads(10_000, "dead") + downloads(200, "near")
    async with reading(flow, jobs) as topics:
        await topics.ended(200)
        # 5 s until it counts as away, and 2,000 of them within each second or so.
        assert trio.current_time() < 40
        assert {ended.delivery.job.source.remote for ended in flow.ended} == {"near"}
        await trio.sleep(30)
        assert topics.most <= 2_000
        # They lie on the topics, not here.
        assert len(flow.endings.in_flow) < 2_000
        assert len(flow.ended) == 200
    flow.assert_closed()


async def test_of_many_jobs_only_so_many_come_back_soon_and_the_first_ones(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    flow = Flow(tmp_path, shape(), far=gone(), away=gone())
    async with flow.running() as driving:
        await flow.give(*downloads(2_000, "far"), *downloads(100, "away"))
        await trio.sleep(20)
        steps = Counter((parked.delivery.job.source.remote, parked.delay_s) for parked in flow.parked)
        assert 490 <= steps["far", 10.0] <= 550
        assert steps["far", 10.0] + steps["far", 60.0] >= 1_990
        # Another remote's are none of theirs.
        assert steps["away", 10.0] >= 90
        assert steps["away", 60.0] == 0
        soon = [p.delivery.record.origin.offset for p in flow.parked if p.delay_s == 10.0][:400]
        assert max(soon) < 600
        driving.cancel_scope.cancel()


async def test_a_server_that_is_away_for_an_hour_costs_no_attempt(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async def away_for_an_hour(_number: int) -> None:
        await trio.lowlevel.checkpoint()
        if trio.current_time() < 3600:
            raise ConnectError("refused")

    flow = Flow(tmp_path, shape(), far=FakeServer(on_connect=away_for_an_hour))
    async with reading(flow, downloads(50), 2.0) as topics:
        await topics.ended(50)
        # At most as late again as they had waited by then.
        assert 3600 < trio.current_time() < 3 * 3600
    outcomes = flow.outcomes().values()
    assert {outcome.status.value for outcome in outcomes} == {"success"}
    assert {outcome.attempts for outcome in outcomes} == {1}
    assert min(outcome.queued_ms for outcome in outcomes) >= 3_600_000
    assert max(Counter(parked.delivery.job.task_id for parked in flow.parked).values()) <= 15


async def test_one_that_is_away_for_good_ends_its_jobs_by_their_deadline(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    flow = Flow(tmp_path, shape(), far=gone())
    async with reading(flow, downloads(50, deadline_seconds=7200.0), 2.0) as topics:
        await topics.ended(50)
        assert 7200 <= trio.current_time() < 7200 + 20
    outcomes = flow.outcomes().values()
    assert flow.codes() == dict.fromkeys(flow.outcomes(), "DEADLINE_EXCEEDED")
    assert {outcome.attempts for outcome in outcomes} == {0}
    for outcome in outcomes:
        assert outcome.failure is not None
        assert outcome.failure.message.endswith("at last: refused")


async def test_a_deadline_that_has_passed_on_a_topic_is_told_of_at_the_next_reading(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    server = gone()
    flow = Flow(tmp_path, shape(), far=server)
    async with flow.running():
        await flow.give(download("late", deadline_seconds=30.0))
        await trio.sleep(10)
        (parked,) = flow.parked
        await trio.sleep(50)  # nobody was running
        begun = len(server.connects)
        await flow.deliver([flow.read_again(parked)])
        await trio.sleep(1)
        assert flow.ended_at == {"late": pytest.approx(60, abs=0.5)}
        assert len(server.connects) == begun
    assert flow.codes() == {"late": "DEADLINE_EXCEEDED"}


async def test_a_refused_login_parks_too(autojump_clock: MockClock, tmp_path: Path) -> None:
    server = FakeServer(on_connect=always(lambda: LoginRefused("530 no")))
    flow = Flow(tmp_path, shape(), far=server)
    async with flow.running():
        await flow.give(*downloads(20))
        await trio.sleep(20)
        assert len(flow.parked) == 20
        assert len(server.connects) == 1
        assert {(parked.delay_s, parked.attempts, parked.error) for parked in flow.parked} == {
            (10.0, 0, "530 no")
        }


async def test_one_bad_connect_parks_nobody(autojump_clock: MockClock, tmp_path: Path) -> None:
    flow = Flow(tmp_path, shape(), far=FakeServer(on_connect=failing({1: ConnectError("refused")})))
    async with flow.running():
        await flow.give(*downloads(20))
        await flow.endings.wait_empty()
    assert flow.parked == []
    assert len(flow.ended) == 20


async def test_one_that_was_away_once_is_not_away_for_ever(autojump_clock: MockClock, tmp_path: Path) -> None:
    server = FakeServer(on_connect=failing({1: ConnectError("refused")}))
    flow = Flow(tmp_path, shape(idle_s=1.0, limit=1), far=server)
    async with flow.running():
        await flow.give(download("first"))
        await trio.sleep(60)
        assert not server.open
        server.connect_s = 20.0
        await flow.give(*downloads(20))
        await flow.endings.wait_empty()
    assert flow.parked == []


async def test_one_whose_deadline_is_too_near_waits_here_and_is_told_why(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    flow = Flow(tmp_path, shape(), far=gone())
    async with flow.running():
        await flow.give(download("soon", deadline_seconds=8.0))
        await flow.endings.wait_empty()
    assert flow.parked == []
    (outcome,) = flow.outcomes().values()
    assert outcome.failure is not None
    assert outcome.failure.message == "not done by its deadline; at last: refused"


async def test_while_a_session_is_being_opened_a_few_wait_for_it(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    server = FakeServer(connect_s=30.0, on_connect=failing({1: ConnectError("refused")}))
    flow = Flow(tmp_path, shape(limit=1), far=server)
    async with flow.running():
        await flow.give(*downloads(50))
        await flow.endings.wait_empty()
    assert len(flow.parked) == 40
    # The first ones stay.
    assert sorted(flow.outcomes()) == sorted(f"far-{number}" for number in range(10))


# ---- retries ------------------------------------------------------------------------------------------

SLOW_RETRY = Backoff(20.0, 3000.0)


async def test_a_long_pause_is_waited_out_on_a_topic_and_not_cut_short(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    error = DataConnectionError("broke")
    flow = Flow(
        tmp_path,
        shape(backoff=SLOW_RETRY, attempts=3),
        far=FakeServer(on_transfer=failing({1: error, 2: error})),
    )
    async with reading(flow, downloads(1)) as topics:
        await topics.ended(1)
        # 20 s and 40 s, each of steps of 10 s.
        assert 60 <= trio.current_time() < 66
    assert [parked.delay_s for parked in flow.parked] == [10.0] * 6
    assert {parked.error for parked in flow.parked} == {"broke"}
    (outcome,) = flow.outcomes().values()
    assert (outcome.status.value, outcome.attempts) == ("success", 3)


@pytest.mark.parametrize(("window", "parked"), [(3, 0), (2, 1)])
async def test_an_urgent_job_waits_here_while_its_part_has_room(
    autojump_clock: MockClock, tmp_path: Path, window: int, parked: int
) -> None:
    flow = Flow(
        tmp_path,
        shape(backoff=SLOW_RETRY, attempts=3, window=window),
        far=FakeServer(on_transfer=failing({1: DataConnectionError("broke")})),
    )
    async with flow.running():
        await flow.deliver([replace(flow.delivery(download("a")), urgent=True)])
        await trio.sleep(60)
    assert len(flow.parked) == parked
    assert flow.codes() == ({} if parked else {"a": "ok"})


async def test_attempts_go_on_where_they_stood(autojump_clock: MockClock, tmp_path: Path) -> None:
    flow = Flow(
        tmp_path,
        shape(backoff=SLOW_RETRY, attempts=3),
        far=FakeServer(on_transfer=always(lambda: DataConnectionError("broke"))),
    )
    async with reading(flow, downloads(1)) as topics:
        await topics.ended(1)
    (outcome,) = flow.outcomes().values()
    assert outcome.failure is not None
    assert (outcome.failure.code.value, outcome.attempts) == ("CONNECTION_ERROR", 3)


async def test_a_short_pause_is_waited_out_here(autojump_clock: MockClock, tmp_path: Path) -> None:
    flow = Flow(
        tmp_path,
        shape(backoff=Backoff(4.9, 4.9), attempts=3),
        far=FakeServer(on_transfer=failing({1: DataConnectionError("broke")})),
    )
    async with flow.running():
        await flow.give(download("a"))
        await flow.endings.wait_empty()
    assert flow.parked == []
    assert flow.codes() == {"a": "ok"}


async def test_what_an_attempt_has_left_is_not_given_away_for_a_pause(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(b"x")
    # The last reply is lost: whether the upload is there only a look tells.
    server = FakeServer(on_transfer=failing({1: DataConnectionError("broke")}))
    flow = Flow(tmp_path, shape(backoff=SLOW_RETRY), far=server)
    async with flow.running():
        await flow.give(upload("a"))
        await trio.sleep(5)
        (work,) = flow.endings.in_flow
        assert work.memory.holds
        await flow.endings.wait_empty()
    assert flow.parked == []
    assert flow.codes() == {"a": "ok"}


# ---- who stays ----------------------------------------------------------------------------------------


async def test_jobs_that_others_wait_behind_stay_here_and_in_order(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(b"x")
    server = gone()
    flow = Flow(tmp_path, shape(), far=server)
    flow.too_large.add("large")
    async with flow.running():
        await flow.give(
            upload("first", to="one"),
            upload("second", to="one"),
            download("keyed", order_key="k"),
            download("large"),
            download("free"),
        )
        await trio.sleep(60)
        assert [parked.delivery.job.task_id for parked in flow.parked] == ["free"]
        server.on_connect = failing({})
        await flow.endings.wait_empty()
    assert flow.codes() == dict.fromkeys(("first", "second", "keyed", "large"), "ok")
    order = list(flow.ended_at)
    assert order.index("first") < order.index("second")


async def test_a_follower_may_go_on_once_the_one_before_it_is_parked(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    flow = Flow(tmp_path, shape(), far=gone())
    async with flow.running():
        await flow.give(upload("a", to="one"))
        await trio.sleep(10)
        await flow.give(upload("b", to="one"))
        await trio.sleep(10)
        assert [parked.delivery.job.task_id for parked in flow.parked] == ["a", "b"]
        assert not flow.endings.in_flow


async def test_without_topics_everybody_waits_here(autojump_clock: MockClock, tmp_path: Path) -> None:
    flow = Flow(tmp_path, shape(delays_s=()), far=gone())
    async with flow.running():
        await flow.give(*downloads(20))
        await trio.sleep(600)
        assert len(flow.endings.in_flow) == 20
    assert flow.parked == []


# ---- the window ---------------------------------------------------------------------------------------


async def test_a_slow_server_does_not_fill_the_window(autojump_clock: MockClock, tmp_path: Path) -> None:
    flow = Flow(tmp_path, shape(window=500, limit=2), slow=FakeServer(transfer_s=5.0), near=FakeServer())
    async with reading(flow, downloads(2_000, "slow") + downloads(40, "near")) as topics:
        await topics.ended(40, "near")
        # By itself it would have been busy with what comes before for an hour and more.
        assert trio.current_time() < 120
        assert topics.most <= 500
        slow = [work for work in flow.endings.in_flow if work.plan.remote == "slow"]
        # It has always something to do.
        assert len(slow) > 100
    assert {parked.delivery.job.source.remote for parked in flow.parked} == {"slow"}


async def test_where_only_one_server_has_jobs_none_is_written_again(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[Lane] = []
    monkeypatch.setattr(Lane, "count", lambda lane, _: counted.append(lane))
    flow = Flow(tmp_path, shape(window=500, limit=2), slow=FakeServer(transfer_s=5.0))
    async with reading(flow, downloads(2_000, "slow"), 1.0):
        await trio.sleep(600)
    assert flow.parked == []
    assert counted == []  # which would take its time, every second


async def test_a_server_that_gets_nothing_though_others_are_parked_is_not_hungry_for_ever(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    flow = Flow(tmp_path, shape(window=100, limit=2), slow=FakeServer(transfer_s=5.0), unused=FakeServer())
    async with reading(flow, downloads(20_000, "slow"), 1.0):
        await trio.sleep(320)
        count = len(flow.parked)
        assert count > 0
        await trio.sleep(60)
        assert len(flow.parked) == count


async def test_a_paused_server_does_not_fill_the_window(autojump_clock: MockClock, tmp_path: Path) -> None:
    flow = Flow(tmp_path, shape(window=400), far=FakeServer(), near=FakeServer())
    flow.remotes["far"].pause()
    async with reading(flow, downloads(1_000, "far") + downloads(20, "near"), 1.0) as topics:
        await topics.ended(20)
        assert trio.current_time() < 120
        await trio.sleep(1_000)
        # Many wait here, for it to go on with at once.
        assert flow.remotes["far"].waiting >= 200
    assert {parked.attempts for parked in flow.parked} == {0}


async def test_what_holds_up_a_partition_is_parked(autojump_clock: MockClock, tmp_path: Path) -> None:
    flow = Flow(tmp_path, shape(limit=1), slow=FakeServer(transfer_s=1000.0))
    async with flow.running() as driving:
        await flow.give(*downloads(10, "slow"))
        flow.window.stuck = {("ftp-tasks", 0): 5, ("ftp-tasks", 1): 10}
        await trio.sleep(1.5)  # for one look: two might put right what one has mixed up
        # The first is being worked on; offsets begin at 1.
        assert [parked.delivery.record.origin.offset for parked in flow.parked] == [2, 3, 4]
        left = [work.delivery.record.origin.offset for work in flow.remotes["slow"].lane.take_all()]
        assert left == [5, 6, 7, 8, 9, 10]
        driving.cancel_scope.cancel()


# ---- what is said of it -------------------------------------------------------------------------------


async def test_it_is_counted_each_time_and_logged_now_and_then(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    flow = Flow(tmp_path, shape(), far=gone())
    with structlog.testing.capture_logs() as events:
        async with reading(flow, downloads(300)):
            await trio.sleep(300)
    said = [event for event in events if event["event"] == "jobs_parked"]
    assert len(said) <= 31
    assert {(event["remote"], event["reason"]) for event in said} == {("far", "away")}
    assert 0 < sum(event["jobs"] for event in said) <= len(flow.parked)
    assert flow.endings.parked == {"far": len(flow.parked)}
    counted = flow.metrics.exposition()[0].decode()
    tens = sum(parked.delay_s == 10 for parked in flow.parked)
    assert f'pooler_jobs_parked_total{{delay="10",reason="away",remote="far"}} {float(tens)}' in counted


async def test_what_is_parked_all_the_time_is_not_logged_all_the_time(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    flow = Flow(tmp_path, shape(), far=gone())
    with structlog.testing.capture_logs() as events:
        async with flow.running():
            for job in downloads(100):
                await flow.give(job)
                await trio.sleep(1)
    assert len(flow.parked) > 80
    assert 5 <= sum(event["event"] == "jobs_parked" for event in events) <= 11


async def test_a_drain_parks_nothing_more(autojump_clock: MockClock, tmp_path: Path) -> None:
    server = FakeServer(transfer_s=30.0)
    flow = Flow(tmp_path, shape(window=10, limit=1), far=server, near=FakeServer())
    async with flow.running():
        await flow.give(*downloads(5))
        await trio.sleep(0.5)
        flow.fleet.close()
        flow.window.size = 1
        await trio.sleep(10)
    assert flow.parked == []
    assert list(flow.codes().values()) == ["ok"]


@pytest.mark.parametrize("cancelled_after_s", [5.05, 6.0, 6.2])
async def test_cancelled_in_the_middle_nothing_is_lost_and_nothing_twice(
    autojump_clock: MockClock, tmp_path: Path, cancelled_after_s: float
) -> None:
    flow = Flow(tmp_path, shape(), far=gone())
    async with flow.running() as driving:
        await flow.give(*downloads(100))
        await trio.sleep(cancelled_after_s)
        driving.cancel_scope.cancel()
    handed_on = Counter(parked.delivery.job.task_id for parked in flow.parked)
    assert set(handed_on.values()) <= {1}
    left = {work.delivery.job.task_id for work in flow.endings.in_flow}
    assert left.isdisjoint(handed_on)
    assert len(left) + len(handed_on) == 100


class Books:
    """Books of partitions in which nothing is settled."""

    def committed(self, partition: tuple[str, int]) -> int:  # noqa: ARG002 - as the flow calls it
        return 0

    def is_settled(self, origin: Origin) -> bool:  # noqa: ARG002 - as the flow calls it
        return False


async def test_what_somebody_has_done_already_is_not_parked_but_answered(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    (tmp_path / FOLDER).mkdir()
    first = Flow(tmp_path, shape(books=Books()), far=FakeServer())
    async with first.running():
        await first.give(download("done"))
        await first.endings.wait_empty()
    # It has died before its answer was out; the next owner finds the server away.
    server = gone()
    second = Flow(tmp_path, shape(books=Books()), far=server)
    async with second.running():
        await second.give(download("done"), download("new"))
        await trio.sleep(30)
        assert [parked.delivery.job.task_id for parked in second.parked] == ["new"]
        server.on_connect = failing({})
        await second.endings.wait_empty()
    assert second.codes() == {"done": "ok"}
    assert server.transfers == []


async def test_notes_are_of_the_place_that_a_job_was_read_from(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    (tmp_path / FOLDER).mkdir()
    server = gone()
    first = Flow(tmp_path, shape(books=Books()), far=server)
    async with first.running():
        await first.give(download("a"))
        await trio.sleep(10)
        (parked,) = first.parked
        again = first.read_again(parked)
        server.on_connect = failing({})
        await trio.sleep(60)
        await first.deliver([again])
        await first.endings.wait_empty()
    second = Flow(tmp_path, shape(books=Books()), far=FakeServer())
    async with second.running():
        await second.deliver([again])
        await second.endings.wait_empty()
    assert second.codes() == {"a": "ok"}
    assert second.servers["far"].transfers == []
