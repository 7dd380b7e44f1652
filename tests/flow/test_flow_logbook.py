"""A process dies between what it has done and the answer to it; the next owner of the job knows."""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from structlog.testing import capture_logs
from trio.testing import MockClock

from pooler.bus.ledger import Ledger
from pooler.errors import ErrorCode
from pooler.flow.logbook import Done, Logbook, Partition
from pooler.model.job import After, Delivery, Job, Origin, Record
from pooler.model.outcome import Outcome, Peer, Status
from pooler.storage.control import FOLDER
from pooler.storage.logbook import KEPT_S, LOGBOOK, remove_old
from pooler.storage.tenancy import Tenancy
from tests.support.flow_double import CONTENT, FakeServer, Flow, InlineRoot, Shape, download, upload

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class Books:
    """Of one partition: where it stands, and what is answered."""

    def __init__(self) -> None:
        self.at = 0
        self.settled: set[int] = set()

    def committed(self, partition: Partition) -> int:
        return self.at if partition == ("ftp-tasks", 0) else 0

    def is_settled(self, origin: Origin) -> bool:
        return origin.offset in self.settled


class Pods:
    """Processes that share a folder and a server, and get the same records one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / FOLDER).mkdir()
        (folder / "source").write_bytes(CONTENT)
        self.server = FakeServer()
        self.books = Books()

    def pod(self) -> Flow:
        return Flow(self.folder, Shape(books=self.books), far=self.server)

    async def run(self, *jobs: Job, copied: int) -> dict[str, Outcome]:
        """Have a process do jobs, without anybody settling them; count the copies that it makes."""
        before, flow = len(self.server.transfers), self.pod()
        async with flow.running():
            await flow.give(*jobs)
            await flow.endings.wait_empty()
        assert len(self.server.transfers) - before == copied
        return flow.outcomes()

    def files(self) -> list[Path]:
        return sorted((self.folder / FOLDER).glob(f"*{LOGBOOK}"))


@pytest.fixture
def pods(tmp_path: Path) -> Pods:
    return Pods(tmp_path)


@pytest.mark.parametrize(
    "job",
    [download("f"), upload("f"), download("f", write_marker=True), upload("f", order_key="a")],
    ids=["download", "upload", "marker", "key"],
)
async def test_what_was_done_is_answered_and_not_done_again(
    pods: Pods, autojump_clock: MockClock, job: Job
) -> None:
    first = await pods.run(job, copied=1)
    assert first["f"].status is Status.SUCCESS
    assert first["f"].bytes_transferred == len(CONTENT)
    assert await pods.run(job, copied=0) == first


@pytest.mark.parametrize("after", [After.DELETE, After.MOVE])
@pytest.mark.parametrize("make", [download, upload])
async def test_a_source_that_the_job_itself_has_removed_is_not_missing(
    pods: Pods, autojump_clock: MockClock, make: Any, after: After
) -> None:
    job = make("f", after=after, move_to="/done/f" if after is After.MOVE else None)
    if make is download:
        pods.server.stored["/f"] = CONTENT
    first = await pods.run(job, copied=1)
    assert first["f"].after == ("deleted" if after is After.DELETE else "moved")
    assert await pods.run(job, copied=0) == first


@pytest.mark.parametrize("after", [After.DELETE, After.MOVE])
async def test_what_was_still_to_be_done_with_the_source_is_done(
    pods: Pods, autojump_clock: MockClock, after: After
) -> None:
    """The process dies between its note and the removal of a source on the server."""
    job = download("f", after=after, move_to="/done/f" if after is After.MOVE else None)
    pods.server.stored["/f"] = CONTENT
    dying = pods.pod()
    with trio.CancelScope() as life:
        renames, pods.server.on_remove = dying.servers["far"], _dies(life)
        async with dying.running():
            if after is After.MOVE:
                _die_at_rename(renames, life)
            await dying.give(job)
            await trio.sleep(100)
    assert dying.outcomes() == {}
    assert "/f" in pods.server.stored
    pods.server.on_remove = _quietly
    found = await pods.run(job, copied=0)
    assert found["f"].after == ("deleted" if after is After.DELETE else "moved")
    assert "/f" not in pods.server.stored
    assert ("/done/f" in pods.server.stored) == (after is After.MOVE)


def _dies(life: trio.CancelScope) -> Any:
    async def hook(_path: str) -> None:
        life.cancel()
        await trio.sleep_forever()

    return hook


async def _quietly(_path: str) -> None:
    await trio.lowlevel.checkpoint()


def _die_at_rename(server: FakeServer, life: trio.CancelScope) -> None:
    class Deadly(dict[str, bytes]):
        def pop(self, *args: Any) -> Any:
            if life.cancel_called or args[0] != "/f":
                return super().pop(*args)
            life.cancel()
            raise trio.EndOfChannel  # nobody gets that far: the scope is cancelled

    server.stored = Deadly(server.stored)


async def test_another_record_at_the_same_place_is_another_job(pods: Pods, autojump_clock: MockClock) -> None:
    book = Logbook(InlineRoot("local", pods.folder), "one", "group", pods.books)
    flow = pods.pod()
    async with flow.running():
        flow.remotes["far"].pause()
        await flow.give(download("f"))
        (work,) = flow.endings.in_flow
        await book.note([Done(work, Outcome(Status.SUCCESS))])
        record = work.delivery.record
        for other in (replace(record, value=b"{ }"), replace(record, timestamp_ms=1)):
            work.delivery = Delivery(work.delivery.job, other, 0.0)
            book.look_again()
            assert await book.recall(work) is None
        work.delivery = Delivery(work.delivery.job, record, 0.0)
        book.look_again()
        assert await book.recall(work) == Done(work, Outcome(Status.SUCCESS))
        flow.endings.dropped(work)


async def test_another_partition_or_group_has_notes_of_its_own(pods: Pods, autojump_clock: MockClock) -> None:
    root, flow = InlineRoot("local", pods.folder), pods.pod()
    async with flow.running():
        flow.remotes["far"].pause()
        await flow.give(download("f"))
        (work,) = flow.endings.in_flow
        await Logbook(root, "one", "group", pods.books).note([Done(work, Outcome(Status.SUCCESS))])
        assert await Logbook(root, "two", "other", pods.books).recall(work) is None
        assert await Logbook(root, "two", "group", pods.books).recall(work) is not None
        record = work.delivery.record
        elsewhere = replace(record, origin=record.origin._replace(partition=1))
        work.delivery = replace(work.delivery, record=elsewhere)
        assert await Logbook(root, "two", "group", pods.books).recall(work) is None
        flow.endings.dropped(work)


async def test_who_sets_the_offset_back_has_the_jobs_done_again(
    pods: Pods, autojump_clock: MockClock
) -> None:
    await pods.run(download("1"), download("2"), copied=2)
    pods.books.at = 2
    # The next note tells that all before 2 was answered; until then nobody can know.
    await pods.run(download("1"), download("2"), download("3"), copied=1)
    assert set(await pods.run(download("1"), download("2"), download("3"), copied=1)) == {"1", "2", "3"}


async def test_what_others_did_meanwhile_is_looked_for_when_partitions_change_hands(
    pods: Pods, autojump_clock: MockClock
) -> None:
    late = pods.pod()
    assert late.logbook is not None
    async with late.running():
        await late.give(download("1"))
        await late.endings.wait_empty()
        await pods.run(download("1"), download("2"), copied=1)
        late.logbook.look_again()
        await late.give(download("2"))
        await late.endings.wait_empty()
    assert pods.server.transfers == ["/1", "/2"]


@pytest.mark.parametrize("make", [download, upload])
@pytest.mark.parametrize("after", [After.DELETE, After.MOVE])
async def test_what_a_former_owner_does_while_we_have_the_job_is_found_once_its_source_is_gone(
    pods: Pods, autojump_clock: MockClock, make: Any, after: After
) -> None:
    job = make("f", after=after, move_to="/done/f" if after is After.MOVE else None)
    if make is download:
        pods.server.stored["/f"] = CONTENT
    thawed, owner = pods.pod(), pods.pod()
    mine = owner.delivery(job)
    other = owner.delivery(download("other"))
    async with owner.running():
        await owner.deliver([other])  # it reads the notes, and there is none
        await owner.endings.wait_empty()
        async with thawed.running():
            await thawed.deliver([mine])
            await thawed.endings.wait_empty()
        await owner.deliver([mine])
        await owner.endings.wait_empty()
    if after is After.DELETE:  # one that was moved can be recognised without a note, as skipped
        assert owner.outcomes()["f"] == thawed.outcomes()["f"]
    assert owner.outcomes()["f"].failure is None
    assert owner.outcomes()["f"].after == ("deleted" if after is After.DELETE else "moved")


async def test_a_source_that_was_never_there_is_missing_however_often_one_looks(
    pods: Pods, autojump_clock: MockClock
) -> None:
    (pods.folder / "source").unlink()
    outcomes = await pods.run(upload("f", after=After.DELETE), copied=0)
    assert outcomes["f"].failure is not None
    assert outcomes["f"].failure.code is ErrorCode.FILE_NOT_FOUND


@pytest.mark.parametrize("garbage", [b"[1", b"\0\xff\n", b'[1,0,"x"]\n', b'{"offset":1}\n', b"[1,0]\n"])
async def test_a_line_that_is_no_note_harms_no_other(
    pods: Pods, autojump_clock: MockClock, garbage: bytes
) -> None:
    await pods.run(download("other"), download("f"), copied=2)
    (file,) = pods.files()
    file.write_bytes(garbage + file.read_bytes() + garbage)
    # The offset of the first is named by some of the garbage: that one may be copied again, and no more.
    flow = pods.pod()
    async with flow.running():
        await flow.give(download("other"), download("f"))
        await flow.endings.wait_empty()
    assert pods.server.transfers.count("/f") == 1
    if garbage == b"[1":  # as a crash leaves it, in the middle of a line
        assert pods.server.transfers.count("/other") == 1
    assert {outcome.status for outcome in flow.outcomes().values()} == {Status.SUCCESS}


async def test_notes_that_cannot_be_written_fail_no_job(pods: Pods, autojump_clock: MockClock) -> None:
    (pods.folder / FOLDER).rmdir()
    with capture_logs() as logged:
        found = await pods.run(download("1"), upload("2"), copied=2)
    assert {outcome.status for outcome in found.values()} == {Status.SUCCESS}
    assert [event["root"] for event in logged if event["event"] == "logbook_not_written"] == ["local"]


class BusyRoot(InlineRoot):
    """A root without a free thread, until there is one."""

    def __init__(self, folder: Path) -> None:
        super().__init__("local", folder)
        self.has_room = trio.Event()

    async def run(self, function: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        await self.has_room.wait()
        return await super().run(function, *args)


async def test_who_is_cancelled_while_it_writes_for_others_too_leaves_none_of_them_unwritten(
    pods: Pods, autojump_clock: MockClock
) -> None:
    root, flow = BusyRoot(pods.folder), pods.pod()
    book, later = (Logbook(root, name, "group", pods.books) for name in ("one", "two"))
    async with flow.running():
        flow.remotes["far"].pause()
        await flow.give(*(download(name) for name in "123"))
        first, *others = flow.endings.in_flow
        async with trio.open_nursery() as nursery:
            for work in others:
                nursery.start_soon(book.note, [Done(work, Outcome(Status.SUCCESS))])
            await trio.testing.wait_all_tasks_blocked()  # one of them writes, the other waits behind it
            with trio.move_on_after(1):
                await book.note([Done(first, Outcome(Status.SUCCESS))])
            nursery.cancel_scope.cancel()
        root.has_room.set()
        await book.note([])
        assert [await later.knows(work) for work in (first, *others)] == [True, True, True]
        for work in (first, *others):
            flow.endings.dropped(work)


async def test_what_could_not_be_written_is_written_once_it_can_be(
    pods: Pods, autojump_clock: MockClock
) -> None:
    root, flow = InlineRoot("local", pods.folder), pods.pod()
    book, later = (Logbook(root, name, "group", pods.books) for name in ("one", "two"))
    async with flow.running():
        flow.remotes["far"].pause()
        await flow.give(download("1"), download("2"))
        works = list(flow.endings.in_flow)
        (pods.folder / FOLDER).rmdir()
        await book.note([Done(works[0], Outcome(Status.SUCCESS))])
        (pods.folder / FOLDER).mkdir()
        await book.note([Done(works[1], Outcome(Status.SUCCESS))])
        assert [await later.knows(work) for work in works] == [True, True]
        for work in works:
            flow.endings.dropped(work)


async def test_notes_on_jobs_that_are_not_read_again_yet_outlive_who_made_them(
    pods: Pods, autojump_clock: MockClock
) -> None:
    """A partition comes back to who has lost it, and that one leaves before it has read on."""
    ledger = Ledger()
    flow = Flow(pods.folder, Shape(books=ledger), far=pods.server)
    mine = flow.delivery(upload("f", after=After.DELETE))
    partition = mine.record.origin[:2]
    ledger.open(partition, 0, ())
    ledger.receive(mine.record.origin, 1)
    async with flow.running():
        await flow.deliver([mine])
        await flow.endings.wait_empty()
    ledger.close(partition)
    ledger.open(partition, 0, ())
    assert flow.logbook is not None
    await flow.logbook.close()
    found = await pods.run(upload("f", after=After.DELETE), copied=0)
    assert found["f"].failure is None


async def test_a_file_of_notes_holds_few_that_are_answered(pods: Pods, autojump_clock: MockClock) -> None:
    flow = pods.pod()
    assert flow.logbook is not None
    async with flow.running():
        flow.remotes["far"].pause()
        await flow.give(*(download(str(number)) for number in range(1, 1001)))
        for turn in range(4):
            for work in list(flow.endings.in_flow):
                origin = work.delivery.record.origin
                work.delivery = replace(
                    work.delivery,
                    record=replace(work.delivery.record, origin=origin._replace(offset=origin.offset + 1000)),
                )
                await flow.logbook.note([Done(work, Outcome(Status.SUCCESS))])
                if origin.offset % 100:
                    pods.books.settled.add(origin.offset + 1000)
            (file,) = pods.files()
            lines = [line for line in file.read_bytes().split(b"\n") if line]
            assert len(lines) < 1200
            # Whatever is not answered is there.
            noted = {int(line[1:].split(b",")[0]) for line in lines}
            assert noted >= set(range(1100, 1001 + 1000 * (turn + 1), 100))
        for work in list(flow.endings.in_flow):
            flow.endings.dropped(work)


async def test_who_leaves_takes_along_what_is_answered(pods: Pods, autojump_clock: MockClock) -> None:
    flow = pods.pod()
    assert flow.logbook is not None
    async with flow.running():
        await flow.give(download("1"), download("2"))
        await flow.endings.wait_empty()
    pods.books.settled = {1}
    await flow.logbook.close()
    assert len(pods.files()) == 1
    pods.books.settled = {1, 2}
    await flow.logbook.close()
    assert not (pods.folder / FOLDER).exists()


def test_whoever_looks_for_the_dead_removes_notes_that_are_too_old(tmp_path: Path) -> None:
    root = InlineRoot("local", tmp_path)
    tenancy = Tenancy(root, lambda: "cafe", min_free_bytes=0, sweep_after_s=0)
    tenancy.look(thorough=False)
    file = tmp_path / FOLDER / f"old{LOGBOOK}"
    file.touch()
    os.utime(file, ns=(0, 0))
    tenancy.find_gone()
    assert not file.exists()


def test_notes_of_the_dead_are_kept_for_a_day(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    now_ns = 10**18
    for name, age_s in (("old", KEPT_S + 1), ("new", KEPT_S - 1)):
        file = tmp_path / FOLDER / f"{name}{LOGBOOK}"
        file.touch()
        os.utime(file, ns=(0, now_ns - int(age_s * 1e9)))
    (tmp_path / FOLDER / "other.lease").touch()
    os.utime(tmp_path / FOLDER / "other.lease", ns=(0, 0))
    remove_old(tmp_path, now_ns)
    assert {file.name for file in (tmp_path / FOLDER).iterdir()} == {f"new{LOGBOOK}", "other.lease"}


async def test_those_who_note_at_the_same_time_are_written_together(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    calls: list[object] = []
    gate = trio.Event()

    class SlowRoot(InlineRoot):
        async def run(self, function: Any, *args: Any) -> Any:  # type: ignore[override]
            calls.append(function)
            await gate.wait()
            return function(*args)

    flow = Flow(tmp_path, far=FakeServer())
    book = Logbook(SlowRoot("local", tmp_path), "one", "group", Books())
    async with flow.running():
        flow.remotes["far"].pause()
        await flow.give(*(download(str(number)) for number in range(20)))
        works = list(flow.endings.in_flow)
        with trio.fail_after(5):
            async with trio.open_nursery() as noting:
                for work in works:
                    noting.start_soon(book.note, [Done(work, Outcome(Status.SUCCESS))])
                await trio.testing.wait_all_tasks_blocked()
                gate.set()
        for work in works:
            flow.endings.dropped(work)
    assert len(calls) <= 2
    (file,) = (tmp_path / FOLDER).iterdir()
    assert len([line for line in file.read_bytes().split(b"\n") if line]) == 20


texts = st.none() | st.text(max_size=20)


@given(
    key=st.none() | st.binary(max_size=20),
    value=st.none() | st.binary(max_size=20),
    outcome=st.builds(
        Outcome,
        st.sampled_from([Status.SUCCESS, Status.SKIPPED]),
        bytes_transferred=st.integers(0, 1 << 60),
        peer=st.none() | st.builds(Peer, st.text(max_size=20), texts, texts),
        reply=texts,
        checksum=texts,
        mtime_kept=st.none() | st.booleans(),
        resumed_from=st.none() | st.integers(0, 1 << 60),
        marked=st.booleans(),
    ),
)
def test_a_note_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, key: bytes | None, value: bytes | None, outcome: Outcome
) -> None:
    folder = tmp_path_factory.mktemp("root")
    (folder / FOLDER).mkdir()

    async def main() -> Sequence[Done | None]:
        flow = Flow(folder, far=FakeServer())
        book = Logbook(InlineRoot("local", folder), "one", "group", Books())
        async with flow.running():
            flow.remotes["far"].pause()
            await flow.give(download("f"))
            (work,) = flow.endings.in_flow
            work.delivery = replace(
                work.delivery, record=Record(Origin("ftp-tasks", 0, 7), key, value, (), 5), received=math.nan
            )
            await book.note([Done(work, outcome)])
            found = await book.recall(work)
            flow.endings.dropped(work)
            return [Done(work, outcome), found]

    expected, found = trio.run(main)
    assert found == expected
