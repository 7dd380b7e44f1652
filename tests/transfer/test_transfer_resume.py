"""Downloads that go on where an attempt before broke off."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from pooler.errors import PoolerError, SessionLost, TransferMismatch
from pooler.model.job import Direction, Options, Overwrite, Verify
from pooler.transfer.attempt import Transferred
from pooler.transfer.download import download
from tests.support import cancel_points, descriptors
from tests.support.attempts import Bench
from tests.support.session_double import Fault, ServerDouble

DATA = b"ten bytes."
RESUME = Options(resume=True)


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    with descriptors.none_left():
        yield


@pytest.fixture(params=["asked before", "asked along", "told again"])
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Bench:
    server = ServerDouble({"/out/f": DATA}, chunk_bytes=4, tells_again=request.param == "told again")
    return Bench(tmp_path, server, asks_along=request.param != "asked before")


async def fetch(bench: Bench, options: Options = RESUME) -> Transferred:
    done = await download(bench.attempt(Direction.DOWNLOAD, options))
    if done.part is not None:
        done.part.close()
    return done


async def lose(bench: Bench, kind: str, number: int, options: Options = RESUME) -> None:
    bench.server.faults = {(kind, number): Fault(SessionLost("gone"))}
    with pytest.raises(SessionLost):
        await fetch(bench, options)
    bench.server.faults = {}
    bench.server.calls.clear()


def local(bench: Bench) -> bytes | None:
    part = bench.part()
    return None if part is None else part.read_bytes()


def part(bench: Bench) -> Path:
    found = bench.part()
    assert found is not None
    return found


async def test_a_large_file_is_gone_on_with(bench: Bench) -> None:
    await lose(bench, "receive", 3)
    assert local(bench) == DATA[:8]
    done = await fetch(bench)
    assert (done.bytes_transferred, done.verified, done.resumed_from) == (10, "size", 8)
    assert "retrieve /out/f 8" in bench.server.calls
    # With a part in hand size and time come first.
    assert bench.server.asked_along == [bench.asks_along, False]
    assert local(bench) == DATA
    assert bench.memory.kept is None


async def test_what_is_gone_on_with_is_broken_off_at_the_size_of_the_whole(bench: Bench) -> None:
    await lose(bench, "receive", 3)
    bench.server.files["/out/f"] = bytes(1000)
    bench.server.sizes = {"*": 10}
    with pytest.raises(TransferMismatch, match="broken off at 4 bytes, where 2 were to come"):
        await fetch(bench)
    assert local(bench) is None
    assert bench.memory.kept is None


async def test_all_bytes_may_be_there_already(bench: Bench) -> None:
    await lose(bench, "retrieved", 1)
    done = await fetch(bench)
    assert (done.bytes_transferred, done.resumed_from) == (10, 10)
    assert local(bench) == DATA


async def test_a_checksum_is_that_of_the_whole(bench: Bench) -> None:
    options = Options(resume=True, verify=Verify.CHECKSUM)
    bench.server.sums = ["sha256"]
    await lose(bench, "receive", 3, options)
    done = await fetch(bench, options)
    assert (done.verified, done.resumed_from) == ("checksum", 8)


async def test_a_job_that_compares_nothing_is_gone_on_with_all_the_same(bench: Bench) -> None:
    options = Options(resume=True, verify=Verify.NONE)
    await lose(bench, "receive", 3, options)
    done = await fetch(bench, options)
    assert (done.verified, done.resumed_from) == ("none", 8)
    assert local(bench) == DATA


@pytest.mark.parametrize("what", ["longer", "later"])
async def test_a_changed_source_is_never_stitched(bench: Bench, what: str) -> None:
    await lose(bench, "receive", 3)
    if what == "longer":
        bench.server.files["/out/f"] = b"TEN BYTES AND MORE"
    else:
        bench.server.files["/out/f"] = b"TEN BYTES!"
        bench.server.times["/out/f"] = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)
    done = await fetch(bench)
    assert done.resumed_from is None
    assert local(bench) == bench.server.files["/out/f"]


async def test_what_was_kept_is_of_no_use_once_the_server_tells_no_times(bench: Bench) -> None:
    await lose(bench, "receive", 3)
    bench.server.files["/out/f"] = b"TEN BYTES!"
    bench.server.tells_time = None
    done = await fetch(bench)
    assert done.resumed_from is None
    assert local(bench) == b"TEN BYTES!"


async def test_where_the_server_tells_no_times_nothing_is_kept(bench: Bench) -> None:
    bench.server.tells_time = None
    await lose(bench, "receive", 3)
    assert bench.local() == {}


@pytest.mark.parametrize("options", [Options(), RESUME], ids=["not asked for", "too small"])
async def test_of_other_files_nothing_is_kept(bench: Bench, options: Options) -> None:
    if options.resume:
        bench.server.files["/out/f"] = b"seven.."
    await lose(bench, "receive", 2, options)
    assert bench.local() == {}


async def test_a_file_of_just_the_size_from_which_on_that_pays_is_kept(bench: Bench) -> None:
    bench.server.files["/out/f"] = b"8 bytes."
    await lose(bench, "receive", 2)
    assert local(bench) == b"8 by"
    bench.memory.release()


async def test_a_server_that_begins_at_the_beginning_only(bench: Bench) -> None:
    bench.server.restarts = False
    await lose(bench, "receive", 3)
    done = await fetch(bench)
    assert done.resumed_from is None
    assert local(bench) == DATA


async def test_a_part_that_somebody_removed(bench: Bench) -> None:
    await lose(bench, "receive", 3)
    part(bench).unlink()
    done = await fetch(bench)
    assert done.resumed_from is None
    assert local(bench) == DATA


async def test_a_part_that_is_longer_than_the_file(bench: Bench) -> None:
    await lose(bench, "receive", 3)
    part(bench).write_bytes(bytes(11))
    assert (await fetch(bench)).resumed_from is None
    assert local(bench) == DATA


async def test_what_does_not_verify_is_not_kept(bench: Bench) -> None:
    bench.server.sizes = {"*": 11}
    with pytest.raises(TransferMismatch):
        await fetch(bench)
    assert bench.local() == {}


async def test_a_job_that_ends_takes_its_part_with_it(bench: Bench) -> None:
    await lose(bench, "receive", 3)
    bench.memory.release()
    bench.memory.release()
    assert bench.local() == {}


async def test_a_part_never_replaces_what_it_may_not(bench: Bench) -> None:
    options = Options(resume=True, overwrite=Overwrite.NEVER)
    await lose(bench, "receive", 3, options)
    done = await fetch(bench, options)
    assert done.part is not None
    assert not done.part.replace


async def test_a_cancellation_at_every_point(bench: Bench) -> None:
    async def run() -> None:
        bench.server.faults = {("receive", 3): Fault(SessionLost("gone"))}
        try:
            await fetch(bench)
        except PoolerError:
            bench.server.faults = {}
        done = await fetch(bench)
        assert done.part is not None
        assert local(bench) == DATA
        part(bench).unlink()

    before = descriptors.count()
    async for ending in cancel_points.everywhere(run):
        bench.memory.release()
        assert bench.local() == {}, ending
        assert descriptors.count() == before, ending
