import io
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pooler.bus import jobfile
from pooler.bus.jobfile import LINE_LIMIT_BYTES, JobFile, lines, open_list
from pooler.bus.source import Answer
from pooler.errors import ErrorCode
from pooler.model.job import Delivery
from pooler.model.outcome import Ended, Outcome, Status
from tests.support import descriptors


class Trickle(io.RawIOBase):
    """A stream that gives a few bytes at a time, as a pipe may."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data = io.BytesIO(data)
        self._size = size

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, self._size) if size >= 0 else self._size)


def split(data: bytes) -> list[bytes]:
    return list(lines(io.BytesIO(data)))


# ---- lines ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a\nb\n", [b"a", b"b"]),
        (b"a\nb", [b"a", b"b"]),
        (b"a\r\nb\r\n", [b"a", b"b"]),
        (b"a\r\nb\r", [b"a", b"b"]),
        (b"\n\n a \n\t\n\r\n\nb\n\n", [b" a ", b"b"]),
        (b"\n\n", []),
        (b"a\rb\n", [b"a\rb"]),
        (b"a\x0bb\x0cc\x1cd\xc2\x85e\n", [b"a\x0bb\x0cc\x1cd\xc2\x85e"]),
    ],
)
def test_lines(data: bytes, found: list[bytes]) -> None:
    assert split(data) == found


@given(
    st.lists(st.binary(max_size=9).map(lambda line: line.replace(b"\n", b""))),
    st.sampled_from([b"\n", b"\r\n"]),
    st.integers(1, 12),
)
def test_lines_however_they_come(written: list[bytes], end: bytes, size: int) -> None:
    data = end.join(written)
    expected = [line.rstrip(b"\r") for line in data.split(b"\n") if line.strip()]
    assert list(lines(Trickle(data, size))) == expected  # type: ignore[arg-type]  # it reads, and that is all


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize("beyond", [-1, 0, 1, 2, 3, 200_000, LINE_LIMIT_BYTES])
def test_a_line_at_the_limit(beyond: int, end: bytes) -> None:
    size = LINE_LIMIT_BYTES + beyond
    first, *others = split(b"x" * size + end + (b"next" if end else b""))
    assert len(first) == min(size, LINE_LIMIT_BYTES + 1)
    assert others == ([b"next"] if end else [])


def test_an_endless_line_takes_no_more_memory_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    real = jobfile._not_empty

    def watched(found: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
        nonlocal largest
        largest = max(largest, *map(len, found), 0)
        return real(found)

    monkeypatch.setattr(jobfile, "_not_empty", watched)
    assert len(split(b"x" * (8 * LINE_LIMIT_BYTES))[0]) == LINE_LIMIT_BYTES + 1
    assert largest <= LINE_LIMIT_BYTES + jobfile._CHUNK_BYTES


def test_a_list_that_is_none(tmp_path: Path) -> None:
    for name in (tmp_path / "missing", tmp_path):
        with descriptors.none_left(), pytest.raises(OSError, match=str(name)):
            open_list(str(name))


def test_a_list_can_be_closed_while_a_thread_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = os.open(tmp_path / "pipe", os.O_RDWR)
    stream = open_list(str(tmp_path / "pipe"))
    reading = threading.Event()
    ended: list[list[bytes]] = []

    def read() -> None:
        found = lines(stream)
        assert next(found) == b"first"
        reading.set()
        try:
            ended.append(list(found))
        except (ValueError, OSError):  # the stream is closed, before the read or in it
            ended.append([])

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    os.write(writer, b"first\n")
    assert reading.wait(10)
    stream.close()
    os.write(writer, b"second\n")  # lets the thread go
    thread.join(10)
    os.close(writer)
    assert not thread.is_alive()
    assert len(ended) == 1


# ---- the window -------------------------------------------------------------------------------------------


def job(number: int) -> bytes:
    return json.dumps(
        {"src_id": "a", "src_path": f"/{number}", "dst_id": "local", "dst_path": f"/{number}"}
    ).encode()


class Rig:
    """A job file between channels that the test holds."""

    def __init__(self, jobs: Iterator[bytes], *, window: int = 10) -> None:
        self.written: list[dict[str, Any]] = []
        self.raw: list[bytes] = []
        self.file = JobFile(
            "jobs.jsonl", ([line] for line in jobs), self._write, worker="pod-1", window=window
        )
        self.to_flow, self.deliveries = trio.open_memory_channel[Delivery](1000)
        self.to_sink, self.answers = trio.open_memory_channel[Answer](1000)

    def _write(self, line: bytes) -> None:
        self.raw.append(line)
        self.written.append(json.loads(line))

    async def run(self) -> None:
        await self.file.run(self.to_flow, self.to_sink.clone())

    async def write(self) -> None:
        await self.file.write(self.answers)

    async def read_up_to(self, taken: int) -> None:
        """Wait until so many are read, and the reader waits for room."""
        while self.file.taken < taken or not self.file._room.statistics().tasks_waiting:  # noqa: ASYNC110 - nobody tells
            await trio.lowlevel.checkpoint()


async def test_reading_stops_at_the_window_and_goes_on_with_each_answer() -> None:
    pulled = 0

    def endless() -> Iterator[bytes]:
        nonlocal pulled
        while True:
            pulled += 1
            yield job(pulled)

    rig = Rig(endless(), window=10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run)
        nursery.start_soon(rig.write)
        await rig.read_up_to(10)
        assert (pulled, rig.file.taken) == (10, 10)
        for _ in range(3):
            await rig.to_sink.send(Ended(rig.deliveries.receive_nowait(), Outcome(Status.SUCCESS)))
        await rig.read_up_to(13)
        assert (pulled, rig.file.taken, len(rig.written)) == (13, 13, 3)
        rig.file.stop()
        rig.to_sink.close()
    assert (pulled, rig.file.taken) == (13, 13)


async def test_never_more_in_hand_than_the_window() -> None:
    in_hand = most = 0

    def jobs() -> Iterator[bytes]:
        nonlocal in_hand, most
        for number in range(200):
            in_hand += 1
            most = max(most, in_hand)
            yield job(number) if number % 3 else b"junk"

    rig = Rig(jobs(), window=7)
    real = rig.file._write

    def write(line: bytes) -> None:
        nonlocal in_hand
        real(line)
        in_hand -= 1

    rig.file._write = write
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run)
        nursery.start_soon(rig.write)
        async with rig.to_sink:
            async for delivery in rig.deliveries:
                await rig.to_sink.send(Ended(delivery, Outcome(Status.SUCCESS)))
    assert len(rig.written) == 200
    assert 1 < most <= 7


async def test_the_end_of_the_list_closes_both_channels() -> None:
    rig = Rig(iter([job(1)]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run)
        nursery.start_soon(rig.write)
        async with rig.to_sink:
            found = [delivery async for delivery in rig.deliveries]
    assert [delivery.job.task_id for delivery in found] == ["jobs.jsonl-0-1"]
    assert rig.file.wants(found[0])


async def test_stopping_ends_a_reader_that_waits_for_a_line_that_never_comes() -> None:
    waits, never = threading.Event(), threading.Event()

    def waiting() -> Iterator[bytes]:
        yield job(1)
        waits.set()
        never.wait()

    rig = Rig(waiting())
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.run)
            await rig.deliveries.receive()
            await trio.to_thread.run_sync(waits.wait)
            rig.file.stop()
    never.set()
    with pytest.raises(trio.EndOfChannel):
        rig.deliveries.receive_nowait()


# ---- answers ----------------------------------------------------------------------------------------------


async def answered(data: bytes, end: Callable[[Delivery], Outcome]) -> Rig:
    rig = Rig(lines(io.BytesIO(data)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run)
        nursery.start_soon(rig.write)
        async with rig.to_sink:
            async for delivery in rig.deliveries:
                await rig.to_sink.send(Ended(delivery, end(delivery)))
    return rig


async def test_one_line_for_each_answer() -> None:
    rig = await answered(job(1) + b"\n\n" + job(2), lambda _: Outcome(Status.SUCCESS, bytes_transferred=5))
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in rig.raw)
    assert [(line["task_id"], line["status"], line["worker"]) for line in rig.written] == [
        ("jobs.jsonl-0-1", "success", "pod-1"),
        ("jobs.jsonl-0-2", "success", "pod-1"),
    ]
    assert not rig.file.codes


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"junk", "malformed"),
        (b"[]", "a JSON list, not an object"),
        (b'{"src_id": "a"', "truncated"),
        (b"\xff\xfe", "malformed"),
        (b'"\xff"', "UTF-8"),
        (b"{}", "missing required field"),
        (b'{"src_id": 1, "src_path": "", "dst_id": "", "dst_path": ""}', "Expected `str`"),
        (b"[" * 5000, "nested too deeply"),
        (b'{"x":"' + b"y" * (LINE_LIMIT_BYTES + 1) + b'"}', "truncated"),
    ],
)
async def test_a_line_that_is_no_job_is_answered_like_any_other(line: bytes, words: str) -> None:
    rig = await answered(line + b"\n" + job(2), lambda _: Outcome(Status.SUCCESS))
    invalid = next(found for found in rig.written if found["status"] == "failed")
    assert len(rig.written) == 2
    assert invalid["task_id"] == "jobs.jsonl-0-1"
    assert (invalid["error_code"], invalid["retriable"]) == ("INVALID_JOB", False)
    # Some of the words are msgspec's, which has changed their case before.
    assert words.lower() in invalid["error_message"].lower()
    assert len(json.dumps(invalid)) < 3000
    assert rig.file.codes == {("INVALID_JOB", False): 1}


async def test_failures_are_counted_by_what_would_help() -> None:
    ends = iter(
        [
            Outcome.failed(ErrorCode.FILE_NOT_FOUND, "no"),
            Outcome.failed(ErrorCode.CONNECTION_ERROR, "no", retriable=True),
            Outcome.failed(ErrorCode.CONNECTION_ERROR, "no", retriable=True),
            Outcome(Status.SKIPPED),
        ]
    )
    rig = await answered(b"\n".join(map(job, range(4))), lambda _: next(ends))
    assert rig.file.codes == {("FILE_NOT_FOUND", False): 1, ("CONNECTION_ERROR", True): 2}
    failed = rig.written[0]
    assert failed["job"] == json.loads(job(0))
