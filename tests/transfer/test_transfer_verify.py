"""The ladder of verification, both ways."""

import datetime as dt
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pooler.errors import ErrorCode, ReplyError, SessionLost, TransferMismatch
from pooler.model.job import Checksum, Direction, Options, Verify
from pooler.transfer.attempt import Transferred
from pooler.transfer.checksum import ALGORITHMS, hasher
from pooler.transfer.download import download
from pooler.transfer.upload import upload
from tests.support import cancel_points, descriptors
from tests.support.attempts import Bench
from tests.support.session_double import Fault, ServerDouble

UP, DOWN = Direction.UPLOAD, Direction.DOWNLOAD
BOTH = pytest.mark.parametrize("direction", [UP, DOWN])
DATA = b"ten bytes."
SHA256 = Checksum("sha256", hashlib.sha256(DATA).hexdigest())
MD5 = Checksum("md5", hashlib.md5(DATA).hexdigest())
CRC32 = Checksum("crc32", f"{zlib.crc32(DATA):08x}")
CHECKSUM = Options(verify=Verify.CHECKSUM)


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    with descriptors.none_left():
        yield


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, ServerDouble())


async def run(bench: Bench, direction: Direction, options: Options) -> Transferred:
    (bench.folder / "in").mkdir(exist_ok=True)
    if direction is UP:
        if not (bench.folder / "in" / "f").exists():
            (bench.folder / "in" / "f").write_bytes(DATA)
        return await upload(bench.attempt(direction, options))
    bench.server.files["/out/f"] = DATA
    done = await download(bench.attempt(direction, options))
    assert done.part is not None
    done.part.close()
    return done


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_can_be_computed(algorithm: str) -> None:
    done = hasher(algorithm)
    for part in (DATA[:3], b"", DATA[3:]):
        done.update(memoryview(part))
    wanted = CRC32.digits if algorithm == "crc32" else hashlib.new(algorithm, DATA).hexdigest()
    assert done.hexdigest() == wanted


@BOTH
async def test_the_sum_that_passed_is_told(bench: Bench, direction: Direction) -> None:
    done = await run(bench, direction, CHECKSUM)
    # Nobody had another one to compare it with.
    assert (done.checksum, done.verified) == (str(SHA256), "size")


@BOTH
async def test_no_file_is_read_again_where_the_server_has_the_sum_that_passed(
    bench: Bench, direction: Direction, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add_file(*_: object) -> None:
        raise AssertionError("it is read again")

    monkeypatch.setattr("pooler.transfer.verify.add_file", add_file)
    bench.server.sums = ["sha256", "md5"]
    done = await run(bench, direction, Options(verify=Verify.CHECKSUM, checksum=MD5))
    assert (done.checksum, done.verified) == (str(MD5), "checksum")


@BOTH
@pytest.mark.parametrize("sums", [["sha256"], ["crc32"], ["md5", "sha512"]])
async def test_the_servers_own_is_compared(bench: Bench, direction: Direction, sums: list[str]) -> None:
    bench.server.sums = sums
    done = await run(bench, direction, CHECKSUM)
    assert (done.checksum, done.verified) == (str(SHA256), "checksum")


@BOTH
@pytest.mark.parametrize("expected", [SHA256, MD5, CRC32])
async def test_the_one_that_the_job_expects(bench: Bench, direction: Direction, expected: Checksum) -> None:
    done = await run(bench, direction, Options(verify=Verify.CHECKSUM, checksum=expected))
    assert done.checksum == str(expected)
    # What left here is right; what the server made of it only the server could say.
    assert done.verified == ("checksum" if direction is DOWN else "size")


@BOTH
async def test_another_than_the_job_expects(bench: Bench, direction: Direction) -> None:
    wrong = Checksum("crc32", "00000000")
    with pytest.raises(TransferMismatch) as caught:
        await run(bench, direction, Options(verify=Verify.CHECKSUM, checksum=wrong))
    assert caught.value.code is ErrorCode.CHECKSUM_MISMATCH
    assert str(caught.value) == f"the bytes that passed have {CRC32}, the job expects crc32:00000000"
    assert bench.local() == ({"in/f": DATA} if direction is UP else {})
    assert bench.server.files == ({} if direction is UP else {"/out/f": DATA})
    assert bench.session.usable


@BOTH
async def test_bytes_that_are_others_on_the_server(bench: Bench, direction: Direction) -> None:
    bench.server.sums = ["md5"]

    def flip() -> None:
        for path in bench.server.files:
            bench.server.files[path] = b"TEN BYTES!"

    bench.server.happens = {("checksum", 1): flip}
    with pytest.raises(TransferMismatch) as caught:
        await run(bench, direction, CHECKSUM)
    assert caught.value.code is ErrorCode.CHECKSUM_MISMATCH
    assert not any(call.startswith("rename") for call in bench.server.calls)
    assert not any(name.endswith(".part") for name in (*bench.local(), *bench.server.files))


@BOTH
async def test_a_server_that_will_not_say(bench: Bench, direction: Direction) -> None:
    bench.server.faults = {("checksum", 1): Fault(ReplyError(550, "no", "HASH"))}
    assert (await run(bench, direction, CHECKSUM)).verified == "size"


@BOTH
@pytest.mark.parametrize("options", [Options(), Options(verify=Verify.NONE)])
async def test_nobody_asked(bench: Bench, direction: Direction, options: Options) -> None:
    bench.server.sums = ["sha256"]
    done = await run(bench, direction, options)
    assert done.checksum is None
    assert not any(call.startswith("checksum") for call in bench.server.calls)


async def test_a_lost_226_keeps_the_checksum_of_what_was_sent(bench: Bench) -> None:
    bench.server.sums = ["sha256"]
    bench.server.faults = {("stored", 1): Fault(SessionLost("gone"), done=True)}
    with pytest.raises(SessionLost):
        await run(bench, UP, CHECKSUM)
    bench.server.faults = {}
    bench.server.calls.clear()
    done = await run(bench, UP, CHECKSUM)
    assert (done.checksum, done.verified) == (str(SHA256), "checksum")
    assert not any(call.startswith("store") for call in bench.server.calls)


# Reading back

READ_BACK = Options(verify=Verify.READ_BACK)


async def test_what_is_read_back_is_what_was_sent(bench: Bench) -> None:
    bench.server.sums = ALGORITHMS
    done = await run(bench, UP, READ_BACK)
    assert (done.checksum, done.verified, done.source_checked) == (str(SHA256), "read_back", "time")
    kinds = [call.partition(" ")[0] for call in bench.server.calls]
    # Before the rename, and nobody takes the server's word for it.
    assert kinds.index("retrieve") < kinds.index("rename")
    assert "checksum" not in kinds


async def test_what_is_read_back_is_summed_up_as_the_job_does(bench: Bench) -> None:
    done = await run(bench, UP, Options(verify=Verify.READ_BACK, checksum=CRC32))
    assert (done.checksum, done.verified) == (str(CRC32), "read_back")


async def test_what_is_read_back_and_is_something_else(bench: Bench) -> None:
    def spoil() -> None:
        for path in bench.server.files:
            bench.server.files[path] = b"TEN BYTES."

    bench.server.happens = {("retrieve", 1): spoil}
    with pytest.raises(TransferMismatch) as caught:
        await run(bench, UP, READ_BACK)
    assert caught.value.code is ErrorCode.CHECKSUM_MISMATCH
    assert bench.server.files == {}


@pytest.mark.parametrize("sizes", [{}, {"*": None}])
async def test_what_the_server_does_not_give_back(bench: Bench, sizes: dict[str, int | None]) -> None:
    bench.server.faults = {("retrieve", 1): Fault(ReplyError(550, "No", "RETR"))}
    bench.server.sizes = sizes
    done = await run(bench, UP, READ_BACK)
    assert done.verified == ("none" if sizes else "size")
    assert bench.server.files == {"/out/f": DATA}


async def test_a_reading_back_that_breaks_off_is_no_refusal(bench: Bench) -> None:
    bench.server.faults = {("retrieved", 1): Fault(ReplyError(451, "Disk", "RETR"))}
    with pytest.raises(ReplyError):
        await run(bench, UP, READ_BACK)


async def test_a_source_that_comes_down_needs_no_reading_back(bench: Bench) -> None:
    bench.server.sums = ["sha256"]
    done = await run(bench, DOWN, READ_BACK)
    assert (done.checksum, done.verified) == (str(SHA256), "checksum")
    assert [call.partition(" ")[0] for call in bench.server.calls].count("retrieve") == 1


async def test_point_25_a_source_that_changes_while_it_is_summed_up_here(bench: Bench) -> None:
    # The server has another algorithm, so the source is read a second time.
    bench.server.sums = ["md5"]
    bench.server.happens = {("checksum", 1): lambda: (bench.folder / "in" / "f").write_bytes(b"TEN BYTES.")}
    with pytest.raises(TransferMismatch) as caught:
        await run(bench, UP, CHECKSUM)
    assert caught.value.code is ErrorCode.SOURCE_CHANGED
    assert bench.server.files == {}


async def test_point_25_a_source_that_changes_while_it_is_summed_up_there(bench: Bench) -> None:
    def change() -> None:
        bench.server.files["/out/f"] = b"TEN BYTES!"
        bench.server.times["/out/f"] = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)

    bench.server.sums = ["sha256"]
    bench.server.happens = {("checksum", 1): change}
    with pytest.raises(TransferMismatch) as caught:
        await run(bench, DOWN, CHECKSUM)
    assert caught.value.code is ErrorCode.SOURCE_CHANGED
    assert bench.local() == {}


async def test_a_cancellation_while_reading_back(bench: Bench) -> None:
    before = descriptors.count()
    async for ending in cancel_points.everywhere(lambda: run(bench, UP, READ_BACK)):
        bench.memory.release()
        assert set(bench.server.files) - {"/out/f"} <= set(bench.left_behind), ending
        assert descriptors.count() == before
        bench.server.files.clear()
        bench.left_behind.clear()
