"""An attempt cut at every byte, and the next one on a new session: `pooler.transfer` on the real client.

Whatever the first has left behind on either side, after the second there is the whole file and nothing else.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from pooler.errors import ErrorCode, PoolerError, RemoteError
from pooler.ftp.connector import FtpConnector
from pooler.ftp.features import Family, Features
from pooler.ftp.learnt import Ability
from pooler.model.job import Direction, Options, Origin, Verify
from pooler.storage.pipe import Pipes
from pooler.storage.root import LocalRoot
from pooler.transfer.attempt import Attempt
from pooler.transfer.download import download
from pooler.transfer.memory import Memory
from pooler.transfer.names import Author
from pooler.transfer.plan import Plan
from pooler.transfer.session import Session
from pooler.transfer.upload import upload
from tests.support import descriptors
from tests.support.answers import MLST_LINE, feat, mlst
from tests.support.cancelling import at_every_wait
from tests.support.cut_lives import HANG_S, VERSIONS, patient, positions, served
from tests.support.cutting import Cut, Flow, How, cutting
from tests.support.scripted import Connection, Script, ScriptedServer

CONTENT = bytes(range(48))
HOWS: tuple[How, How] = ("FIN", "RST")
CONTROL_DOWN, CONTROL_UP = Flow("control", "down"), Flow("control", "up")
DATA_DOWN, DATA_UP = Flow("data 1", "down"), Flow("data 1", "up")


async def stor(connection: Connection, argument: bytes) -> None:
    """Keep what has come, as real servers do, however the data ends."""
    path, files = connection.path(argument), connection.server.files
    data = await connection.accept()
    files[path] = b""
    await connection.say(b"150 Send it.")
    try:
        while part := await data.stream.receive_some(65536):
            files[path] += part
    except trio.BrokenResourceError:
        await connection.say(b"426 Broken off.")
        return
    await data.close()
    await connection.say(b"226 Stored.")


TIME = b"213 20261123093000"
SCRIPT: Script = {"FEAT": feat(MLST_LINE), "MLST": mlst, "STOR": stor, "MDTM": TIME}


@dataclass(slots=True)
class Job:
    """One job, with both its ends as they were before.

    Attributes:
        left_behind: paths that nobody will go on with.
        known: the server is known to take commands together, and the kernel moves the bytes where it can.
        begun: the bytes of each flow that had passed when the newest attempt began, behind its login.
        ended: the same for when it ended.
    """

    server: ScriptedServer
    folder: Path
    direction: Direction
    memory: Memory = field(default_factory=Memory)
    left_behind: list[str] = field(default_factory=list)
    attempts: int = 0
    known: bool = False
    begun: dict[Flow, int] = field(default_factory=dict)
    ended: dict[Flow, int] = field(default_factory=dict)
    pipes: Pipes = field(default_factory=Pipes)

    def __post_init__(self) -> None:
        for found in sorted(self.folder.rglob("*"), reverse=True):
            found.rmdir() if found.is_dir() else found.unlink()
        self.server.folders = {"/", "/out"}
        self.server.files = {"/out/f": CONTENT} if self.direction is Direction.DOWNLOAD else {}
        if self.direction is Direction.UPLOAD:
            (self.folder / "in").mkdir()
            (self.folder / "in" / "f").write_bytes(CONTENT)

    async def attempt(self, cut: Cut | None) -> PoolerError | None:
        """Make one attempt; give what it failed by."""
        self.attempts += 1
        failure: PoolerError | None = None
        with trio.fail_after(HANG_S):
            async with cutting(self.server, cut) as relay:
                connector = patient(self.server, relay.port)
                if self.known:
                    know(connector)
                session = await connector.connect()
                self.begun = dict(relay.passed)
                try:
                    await self._copy(session)
                except PoolerError as error:
                    failure = error
                self.ended = dict(relay.passed)
                await session.aclose()
                await self.server.all_left()
        self.pipes.close()
        return failure

    async def _copy(self, session: Session) -> None:
        options = Options(verify=Verify.SIZE, in_place=False)
        attempt = Attempt(
            plan=Plan(self.direction, "site", "/out/f", "disk", ("in", "f"), options),
            session=session,
            root=LocalRoot("disk", self.folder),
            author=Author("test", Origin("tasks", 0, 0), self.attempts),
            buffer=memoryview(bytearray(32)),
            moved=lambda _: None,
            left_behind=self.left_behind.append,
            resume_above_bytes=1 << 20,
            memory=self.memory,
            pipes=self.pipes if self.known else None,
            more_waits=lambda: True,
        )
        done = await (download if self.direction is Direction.DOWNLOAD else upload)(attempt)
        if done.part is not None:
            done.part.publish()
            done.part.close()

    def is_done(self) -> bool:
        """Whether both ends have the file, whole, and nothing else."""
        local = {
            str(found.relative_to(self.folder)): found.read_bytes()
            for found in self.folder.rglob("*")
            if found.is_file()
        }
        return local == {"in/f": CONTENT} and self.server.files == {"/out/f": CONTENT}


def know(connector: FtpConnector) -> None:
    """Let a connector know its server, as it does once it has spoken to it for a while."""
    learnt = connector._learnt
    learnt.features = Features(answered=True, family=Family.VSFTPD)
    for ability in (Ability.EPSV, Ability.SIZE, Ability.MDTM, Ability.RENAME, Ability.TOGETHER):
        learnt.found(ability, works=True)


async def cut_everywhere(
    server: ScriptedServer, folder: Path, direction: Direction, *, stride: int, known: bool
) -> AsyncIterator[tuple[Job, Cut]]:
    """Give a new job for each position at which its attempt can be cut, behind the login."""
    await trio.to_thread.run_sync(lambda: None)  # the thread that reads passwords stays
    whole = Job(server, folder, direction, known=known)
    assert await whole.attempt(None) is None
    for flow in (CONTROL_DOWN, CONTROL_UP, DATA_DOWN, DATA_UP):
        first = whole.begun.get(flow, 0)
        if flow is CONTROL_UP:
            first += 1  # the last command of the login has been answered
        elif flow is CONTROL_DOWN and server.context is not None:
            first += 8  # a signature may be some bytes longer next time, and then the login is
        for after in positions(first, whole.ended.get(flow, 0), stride):
            yield Job(server, folder, direction, known=known), Cut(flow, after, HOWS[after % 2])


async def cut_and_repeat(
    folder: Path, security: str, direction: Direction, *, stride: int, known: bool
) -> int:
    """Cut at each position, try again, see that all is well; count how often the cut has told."""
    failed = 0
    (disk := folder / "disk").mkdir()
    async with served(folder, security, SCRIPT) as server:
        async for job, cut in cut_everywhere(server, disk, direction, stride=stride, known=known):
            before = descriptors.count()
            failure = await job.attempt(cut)
            if failure is not None:
                failed += 1
                assert isinstance(failure, RemoteError), cut
                assert failure.retriable, cut
                assert await job.attempt(None) is None, cut
            assert job.is_done(), cut
            job.memory.release()
            assert not job.left_behind, cut
            assert descriptors.count() == before, cut
    return failed


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize(("security", "stride"), [("plain", 11), ("TLS 1.3", 61)])
async def test_the_next_attempt_ends_well_where_the_first_was_cut(
    tmp_path: Path, security: str, stride: int, direction: Direction, *, known: bool
) -> None:
    assert await cut_and_repeat(tmp_path, security, direction, stride=stride, known=known) > 20


@pytest.mark.long
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("security", VERSIONS)
async def test_the_next_attempt_ends_well_wherever_the_first_was_cut(
    tmp_path: Path, security: str, direction: Direction, *, known: bool
) -> None:
    assert await cut_and_repeat(tmp_path, security, direction, stride=1, known=known) > 100


async def test_a_part_that_the_server_was_told_is_whole_is_found_out_by_its_size(tmp_path: Path) -> None:
    (disk := tmp_path / "disk").mkdir()
    async with served(tmp_path, "plain", SCRIPT) as server:
        for after in range(len(CONTENT)):
            job = Job(server, disk, Direction.UPLOAD)
            failure = await job.attempt(Cut(DATA_UP, after, "FIN", server_sees="FIN"))
            assert failure is not None, after
            assert failure.code is ErrorCode.SIZE_MISMATCH, after
            assert server.files == {}, after  # nothing bears its name, and the part is gone
            assert await job.attempt(None) is None, after
            assert job.is_done(), after


async def test_a_download_that_ends_too_early_in_order_is_found_out_by_its_size(tmp_path: Path) -> None:
    (disk := tmp_path / "disk").mkdir()
    async with served(tmp_path, "plain", SCRIPT) as server:
        for after in range(1, len(CONTENT)):
            job = Job(server, disk, Direction.DOWNLOAD)
            failure = await job.attempt(Cut(DATA_DOWN, after, "FIN"))
            assert failure is not None, after
            assert failure.code is ErrorCode.SIZE_MISMATCH, after
            assert not any(found.is_file() for found in disk.rglob("*")), after


@pytest.mark.parametrize("direction", Direction)
async def test_cancelled_at_any_wait_nothing_is_left_open_and_no_part_bears_the_name(
    tmp_path: Path, direction: Direction
) -> None:
    (disk := tmp_path / "disk").mkdir()
    async with served(tmp_path, "plain", SCRIPT) as server:
        assert await Job(server, disk, direction, known=True).attempt(None) is None  # threads stay
        before, jobs, cancelled = descriptors.count(), list[Job](), 0

        async def life() -> None:
            jobs.append(Job(server, disk, direction, known=True))
            connector = patient(server, server.port)
            know(connector)
            session = await connector.connect()
            try:
                await jobs[-1]._copy(session)
            finally:
                jobs[-1].pipes.close()
                with trio.CancelScope(shield=True):
                    await session.aclose()

        async for waits in at_every_wait(life):
            cancelled += 1
            await server.all_left()
            assert descriptors.count() == before, waits
            if direction is Direction.UPLOAD:
                assert server.files.get("/out/f", CONTENT) == CONTENT, waits
            else:
                assert not any(found.is_file() for found in disk.rglob("*")), waits
        assert cancelled > 15  # how many waits there are depends on how the bytes come
        assert jobs[-1].is_done()
