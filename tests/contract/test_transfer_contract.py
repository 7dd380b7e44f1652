"""What jobs and remotes may ask of a transfer, on every server that we can run, plain and under TLS."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pooler.config.temp_name import TempName
from pooler.model.job import Direction, Options, Origin, Overwrite, Verify
from pooler.storage.pipe import Pipes
from pooler.storage.root import LocalRoot
from pooler.transfer.attempt import Attempt
from pooler.transfer.check import check
from pooler.transfer.download import download
from pooler.transfer.memory import Memory
from pooler.transfer.names import Author
from pooler.transfer.plan import Plan
from pooler.transfer.session import Session
from pooler.transfer.upload import upload
from tests.contract.test_session_contract import REMOTES, SUMMING, Remote, content, run
from tests.support.moving import store

UP, DOWN = Direction.UPLOAD, Direction.DOWNLOAD
ORIGIN = Origin("tasks", 0, 1)
DATA = content(300_000)
PIPES = Pipes()
LONG = "보" * 85  # 255 bytes, the most that there can be


@pytest.fixture(scope="module", params=REMOTES)
def remote(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    kind, security = request.param
    yield from run(kind, security, tmp_path_factory.mktemp("server"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "f").write_bytes(DATA)
    return tmp_path


def attempt(
    session: Session,
    folder: Path,
    direction: Direction,
    path: str,
    options: Options,
    *,
    process: str = "new",
    gone: frozenset[str] = frozenset(),
    asks_along: bool = False,
    **plan: Any,
) -> Attempt:
    left_behind: list[str] = []
    return Attempt(
        plan=Plan(direction, "site", path, "disk", ("f",), options, **plan),
        session=session,
        root=LocalRoot("disk", folder),
        author=Author(process, ORIGIN, 1),
        buffer=memoryview(bytearray(1 << 16)),
        moved=lambda _: None,
        left_behind=left_behind.append,
        resume_above_bytes=1000,
        memory=Memory(),
        is_gone=gone.__contains__,
        pipes=PIPES,
        asks_along=asks_along,
        more_waits=lambda: True,
    )


def there(remote: Remote, folder: str) -> dict[str, bytes]:
    """Read the files of a folder of the server's."""
    found = (remote.server.root / folder.strip("/")).iterdir()
    return {path.name: path.read_bytes() for path in found if path.is_file()}


def here(folder: Path) -> dict[str, bytes]:
    """Read the files of a folder of ours."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "pattern",
    [
        TempName("", "{name}.{token}.part"),
        TempName("tmp", "{token}"),
        TempName("/meeting", "{name}~{token}"),
        TempName("", "{token}.filepart"),
    ],
    ids=lambda pattern: f"{pattern.folder}:{pattern.name}",
)
async def test_temporary_names(remote: Remote, folder: Path, pattern: TempName) -> None:
    path = f"/names/{LONG}"
    async with remote.session() as session:
        for _ in range(2):  # the second time over what is there
            trying = attempt(session, folder, UP, path, Options(), temp_name=pattern)
            temporary = f"{trying.plan.temporary_folder}/{trying.remote_name(trying.author.token())}"
            assert len(temporary.rpartition("/")[2].encode()) <= 255
            done = await upload(trying)
            assert (done.bytes_transferred, done.verified) == (len(DATA), "size")
        assert session.usable
    assert there(remote, "/names") == {LONG: DATA}
    if pattern.folder:
        assert there(remote, pattern.folder if pattern.folder.startswith("/") else "/names/tmp") == {}


async def test_in_place(remote: Remote, folder: Path) -> None:
    async with remote.session() as session:
        done = await upload(attempt(session, folder, UP, "/place/f", Options(in_place=True)))
    assert (done.bytes_transferred, done.verified) == (len(DATA), "size")
    assert there(remote, "/place") == {"f": DATA}


async def test_what_is_read_back(remote: Remote, folder: Path) -> None:
    options = Options(verify=Verify.READ_BACK)
    async with remote.session() as session:
        done = await upload(attempt(session, folder, UP, "/back/f", options))
        assert session.usable
    assert done.verified == "read_back"
    assert done.checksum == f"sha256:{hashlib.sha256(DATA).hexdigest()}"
    assert there(remote, "/back") == {"f": DATA}


async def test_what_the_server_sums_up(remote: Remote, folder: Path) -> None:
    options = Options(verify=Verify.CHECKSUM)
    async with remote.session() as session:
        up = await upload(attempt(session, folder, UP, "/sums/f", options))
        down = await download(attempt(session, folder, DOWN, "/sums/f", options))
    assert down.part is not None
    down.part.discard()
    wanted = "checksum" if remote.kind in SUMMING else "size"
    assert (up.verified, down.verified) == (wanted, wanted)
    assert up.checksum == down.checksum == f"sha256:{hashlib.sha256(DATA).hexdigest()}"


async def test_a_marker(remote: Remote, folder: Path) -> None:
    async with remote.session() as session:
        done = await upload(attempt(session, folder, UP, "/marked/f", Options(write_marker=True)))
        assert done.marked
        assert there(remote, "/marked") == {"f": DATA, "f.ok": b""}
        await session.remove("/marked/f.ok")
        again = Options(write_marker=True, overwrite=Overwrite.NEVER)
        for _ in range(2):
            done = await upload(attempt(session, folder, UP, "/marked/f", again))
            assert (done.skipped, done.marked) == (True, True)
        in_place = Options(write_marker=True, in_place=True)
        assert (await upload(attempt(session, folder, UP, "/marked/f", in_place))).marked
        assert session.usable
    assert there(remote, "/marked") == {"f": DATA, "f.ok": b""}


async def test_a_check(remote: Remote, folder: Path) -> None:
    options = Options(check=True)
    size = len(DATA)
    async with remote.session() as session:

        async def found(direction: Direction, path: str) -> object:
            return (await check(attempt(session, folder, direction, path, options))).check

        new = {"source_bytes": size, "destination": "new", "folder": "missing", "differs": "missing"}
        assert await found(UP, "/checked/f") == new
        assert not (remote.server.root / "checked").exists()
        await store(session, "/checked/g", b"old")
        assert await found(UP, "/checked/f") == new | {"folder": "there"}
        assert await found(UP, "/checked/g") == {
            "source_bytes": size, "destination": "replaced", "folder": "there", "differs": "size",
        }  # fmt: skip
        assert await found(DOWN, "/checked/g") == {
            "source_bytes": 3, "destination": "replaced", "folder": "there", "differs": "size",
        }  # fmt: skip
        assert session.usable
    assert there(remote, "/checked") == {"g": b"old"}
    assert (folder / "f").read_bytes() == DATA


async def leave_a_part(session: Session, folder: Path, path: str, pattern: TempName) -> int:
    """Leave on the server what a process leaves that dies in the middle of an upload."""
    trying = attempt(session, folder, UP, path, Options(resume=True), process="old", temp_name=pattern)
    state = (folder / "f").stat()
    token = trying.token(state.st_size, state.st_mtime_ns)
    size = len(DATA) // 2
    await store(session, f"{trying.plan.temporary_folder}/{trying.remote_name(token)}", DATA[:size])
    return size


@pytest.mark.parametrize("pattern", [TempName("", "{token}.x"), TempName("tmp", "{name}.{token}")])
async def test_an_upload_of_a_process_that_is_gone(remote: Remote, folder: Path, pattern: TempName) -> None:
    where = f"/adopted{pattern.folder}"
    async with remote.session() as session:
        size = await leave_a_part(session, folder, f"{where}/f", pattern)
        options = Options(resume=True, verify=Verify.READ_BACK)
        done = await upload(
            attempt(session, folder, UP, f"{where}/f", options, gone=frozenset({"old"}), temp_name=pattern)
        )
        assert (done.resumed_from, done.verified) == (size, "read_back")
        assert session.usable
    assert there(remote, where) == {"f": DATA}


async def test_an_upload_of_a_process_that_may_live(remote: Remote, folder: Path) -> None:
    pattern = TempName("", "{token}.x")
    async with remote.session() as session:
        size = await leave_a_part(session, folder, "/living/f", pattern)
        done = await upload(
            attempt(session, folder, UP, "/living/f", Options(resume=True), temp_name=pattern)
        )
        assert done.resumed_from is None
    left = there(remote, "/living")
    assert left.pop("f") == DATA
    assert list(left.values()) == [DATA[:size]]


async def test_a_download_of_a_process_that_is_gone(remote: Remote, folder: Path) -> None:
    options = Options(resume=True)
    (folder / "f").unlink()
    async with remote.session() as session:
        await store(session, "/down/f", DATA)
        before = await session.stat("/down/f")
        old = attempt(session, folder, DOWN, "/down/f", options, process="old")
        (folder / f".{old.token(before.size_bytes, before.modified)}.part").write_bytes(DATA[:100_000])
        done = await download(attempt(session, folder, DOWN, "/down/f", options, gone=frozenset({"old"})))
        assert done.part is not None
        done.part.publish()
        done.part.close()
        assert (done.resumed_from, done.verified, done.source_checked) == (100_000, "size", "time")
    assert here(folder) == {"f": DATA}
