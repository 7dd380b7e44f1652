"""Bandwidths: what passes in which time, who shares it, and that the word to change it holds at once."""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments

from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from pooler.flow.bandwidth import Bandwidth, SessionThrottle
from pooler.flow.bucket import ByteBucket
from pooler.transfer import mover
from tests.support.flow_double import CONTENT, FakeServer, Flow, InlineRoot, Shape, downloads, upload

RATE = 1_000_000


@given(
    st.floats(1e3, 1e9),
    st.lists(st.tuples(st.floats(0, 3), st.integers(1, 10**7)), min_size=1, max_size=50),
)
def test_no_more_passes_than_may_and_no_less_where_all_wait(
    bytes_per_s: float, pieces: list[tuple[float, int]]
) -> None:
    bucket, now, passed = ByteBucket(bytes_per_s), 1000.0, 0
    for pause_s, size_bytes in pieces:
        begun = now
        bucket.take(size_bytes, now)
        now = bucket.free_at(now)
        assert begun <= now <= begun + size_bytes / bytes_per_s + 1e-6
        passed += size_bytes
        # A tenth of a second's worth is given in advance.
        assert passed <= bytes_per_s * (now - 1000 + 0.1) * 1.001 + 2
        now += pause_s


class Endless:
    """A data connection that gives as much as it is asked for, or pieces of its own, and counts it."""

    def __init__(self, most_bytes: int = 1 << 20) -> None:
        self.passed = 0
        self._most_bytes = most_bytes

    async def receive_into(self, buffer: memoryview) -> int:
        await trio.lowlevel.checkpoint()
        count = min(len(buffer), self._most_bytes)
        self.passed += count
        return count

    async def send_all(self, data: memoryview) -> None:
        await trio.lowlevel.checkpoint()
        self.passed += len(data)

    async def passes(self, count: float) -> None:
        """Wait until so much more has passed."""
        end = self.passed + count
        while self.passed < end:  # noqa: ASYNC110 - nobody tells
            await trio.lowlevel.checkpoint()


class Nowhere:
    """A file that takes and gives for ever."""

    def write(self, data: memoryview) -> None:
        pass

    def read_into(self, buffer: memoryview) -> int:
        return len(buffer)


async def receive(stream: Endless, throttle: SessionThrottle) -> None:
    root, buffer = InlineRoot("local", Path()), memoryview(bytearray(mover.BUFFER_BYTES))
    await mover.receive(stream, Nowhere(), root, buffer, lambda _: None, throttle=throttle)  # type: ignore[arg-type]


async def send(stream: Endless, throttle: SessionThrottle) -> None:
    root, buffer = InlineRoot("local", Path()), memoryview(bytearray(mover.BUFFER_BYTES))
    await mover.send(Nowhere(), stream, root, buffer, lambda _: None, throttle=throttle)  # type: ignore[arg-type]


async def move_for(
    seconds: float, *transfers: tuple[Callable[..., object], Endless, SessionThrottle]
) -> None:
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for transfer, stream, throttle in transfers:
                nursery.start_soon(transfer, stream, throttle)  # type: ignore[arg-type]


@pytest.mark.parametrize("transfer", [receive, send])
@pytest.mark.parametrize("bytes_per_s", [2_000, RATE, 100 * RATE])
async def test_a_bandwidth_holds_in_either_direction(
    autojump_clock: MockClock, transfer: Callable[..., object], bytes_per_s: int
) -> None:
    stream = Endless()
    await move_for(10, (transfer, stream, SessionThrottle(Bandwidth(bytes_per_s))))
    assert stream.passed == pytest.approx(10 * bytes_per_s, rel=0.02)


async def test_many_transfers_share_it_alike_whatever_pieces_their_servers_send(
    autojump_clock: MockClock,
) -> None:
    bandwidth = Bandwidth(RATE)
    streams = [Endless(most) for most in (500, 1400, 1 << 20, 1 << 20)]
    transfers = [(receive, stream, SessionThrottle(bandwidth)) for stream in streams]
    transfers.append((send, Endless(), SessionThrottle(bandwidth)))
    await move_for(20, *transfers)
    passed = [stream.passed for _, stream, _ in transfers]
    assert sum(passed) == pytest.approx(20 * RATE, rel=0.02)
    assert max(passed) - min(passed) < 0.05 * 4 * RATE


async def test_one_that_comes_later_has_no_claim_to_what_it_has_missed(autojump_clock: MockClock) -> None:
    bandwidth, early, late = Bandwidth(RATE), Endless(), Endless()

    async def come_late(stream: Endless, throttle: SessionThrottle) -> None:
        await trio.sleep(10)
        await receive(stream, throttle)

    await move_for(
        20,
        (receive, early, SessionThrottle(bandwidth)),
        (come_late, late, SessionThrottle(bandwidth)),
    )
    assert late.passed == pytest.approx(5 * RATE, rel=0.03)
    assert early.passed == pytest.approx(15 * RATE, rel=0.03)


async def test_a_transfer_keeps_to_every_bandwidth_that_bounds_it(autojump_clock: MockClock) -> None:
    pod, slow, fast = Bandwidth(RATE), Bandwidth(RATE / 10), Bandwidth()
    one, others = Endless(), [Endless() for _ in range(3)]
    await move_for(
        10,
        (receive, one, SessionThrottle(slow, pod)),
        *((receive, other, SessionThrottle(fast, pod)) for other in others),
    )
    # A small share of a large bandwidth is not pressed down further by the pieces of the others.
    assert one.passed == pytest.approx(RATE, rel=0.05)
    assert one.passed + sum(other.passed for other in others) == pytest.approx(10 * RATE, rel=0.03)


async def test_what_changes_holds_for_running_transfers_at_once(autojump_clock: MockClock) -> None:
    bandwidth, stream = Bandwidth(1), Endless()
    throttle = SessionThrottle(bandwidth)

    async def change() -> None:
        await trio.sleep(10)
        assert stream.passed <= 12
        bandwidth.limit(RATE)
        await trio.sleep(10)
        assert stream.passed == pytest.approx(10 * RATE, rel=0.02)
        bandwidth.limit(None)
        await stream.passes(100 * RATE)
        nursery.cancel_scope.cancel()

    with trio.fail_after(21):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive, stream, throttle)
            nursery.start_soon(change)
    assert throttle.piece_bytes is None


async def test_where_nothing_may_pass_nothing_does_until_something_may(autojump_clock: MockClock) -> None:
    bandwidth, stream = Bandwidth(RATE), Endless()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive, stream, SessionThrottle(bandwidth))
        await trio.sleep(1)
        bandwidth.limit(0)
        before = stream.passed
        await trio.sleep(1000)
        assert stream.passed - before <= RATE / 10
        bandwidth.limit(RATE)
        before = stream.passed
        await trio.sleep(10)
        assert stream.passed - before == pytest.approx(10 * RATE, rel=0.02)
        nursery.cancel_scope.cancel()


async def test_one_that_was_unbounded_is_bounded_at_once(autojump_clock: MockClock) -> None:
    bandwidth, stream = Bandwidth(), Endless()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, stream, SessionThrottle(bandwidth))
        await stream.passes(RATE)
        bandwidth.limit(RATE)
        before = stream.passed
        await trio.sleep(10)
        assert stream.passed - before == pytest.approx(10 * RATE, rel=0.12)  # a buffer was on its way
        nursery.cancel_scope.cancel()


async def test_one_that_is_cancelled_keeps_nobody_waiting(autojump_clock: MockClock) -> None:
    bandwidth, stays = Bandwidth(RATE), Endless()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive, stays, SessionThrottle(bandwidth))
        for delay in range(20):
            # In its turn, or in the middle of the others.
            await move_for(0.05 + delay / 1000, *((send, Endless(), SessionThrottle(bandwidth)),) * 3)
        before = stays.passed
        await trio.sleep(10)
        assert stays.passed - before == pytest.approx(10 * RATE, rel=0.02)
        nursery.cancel_scope.cancel()


async def test_nobody_is_called_where_nothing_is_bounded() -> None:
    class Unasked(SessionThrottle):
        async def passed(self, _size_bytes: int) -> None:
            raise AssertionError("a call for each buffer")

    stream, throttle = Endless(), Unasked(Bandwidth(), Bandwidth())
    for transfer in (receive, send):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transfer, stream, throttle)
            await stream.passes(10 * RATE)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "shape", [Shape(bytes_per_s=5, attempt_s=20), Shape(pod_bytes_per_s=5, attempt_s=20)]
)
async def test_the_time_for_which_we_hold_a_transfer_back_is_not_its_server_s_fault(
    autojump_clock: MockClock, tmp_path: Path, shape: Shape
) -> None:
    """At 5 bytes a second 20 files of 25 bytes take 100 s, of which an attempt may take 20."""
    (tmp_path / "source").write_bytes(CONTENT)
    flow = Flow(tmp_path, shape, far=FakeServer())
    async with flow.running():
        begun = trio.current_time()
        await flow.give(*downloads(10), *(upload(f"up-{number}") for number in range(10)))
        await flow.endings.wait_empty()
        assert 95 <= trio.current_time() - begun < 110
    assert {(outcome.failure, outcome.attempts) for outcome in flow.outcomes().values()} == {(None, 1)}


async def test_one_wait_may_take_longer_than_an_attempt(autojump_clock: MockClock, tmp_path: Path) -> None:
    flow = Flow(tmp_path, Shape(bytes_per_s=0.04, attempt_s=20), far=FakeServer())
    async with flow.running():
        await flow.give(*downloads(1))
        await flow.endings.wait_empty()
        assert trio.current_time() == pytest.approx(25 / 0.04, rel=0.05)
    assert {(outcome.failure, outcome.attempts) for outcome in flow.outcomes().values()} == {(None, 1)}


async def test_a_job_s_deadline_holds_however_long_it_is_held_back(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    flow = Flow(tmp_path, Shape(limit=1, bytes_per_s=0.01, deadline_s=100, attempt_s=50), far=FakeServer())
    async with flow.running():
        await flow.give(*downloads(1))
        await flow.endings.wait_empty()
        assert trio.current_time() <= 200
    assert set(flow.codes().values()) == {"DEADLINE_EXCEEDED"}
