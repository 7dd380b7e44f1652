"""A download that does not end, on the real client: the disk does not fill, and the session goes."""

from pathlib import Path

import pytest
import trio

from pooler.errors import ErrorCode, TransferMismatch
from pooler.model.job import Direction, Options, Origin, Verify
from pooler.storage.landing import PartFile
from pooler.storage.root import LocalRoot
from pooler.transfer import mover
from pooler.transfer.attempt import Attempt
from pooler.transfer.download import download
from pooler.transfer.names import Author
from pooler.transfer.plan import Plan
from tests.support import descriptors
from tests.support.adversaries import FLOOD, bounded_memory, sends_on
from tests.support.answers import connect
from tests.support.cut_lives import HANG_S, VERSIONS, served
from tests.support.scripted import Script

TOLD = mover.BUFFER_BYTES + 1000


@pytest.mark.parametrize("security", VERSIONS)
@pytest.mark.parametrize("verify", [Verify.SIZE, Verify.CHECKSUM])
async def test_point_21_a_download_without_end_leaves_nothing_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, security: str, verify: Verify
) -> None:
    written: list[int] = []
    real = PartFile.write

    def write(self: PartFile, data: memoryview) -> None:
        written.append(len(data))
        real(self, data)

    monkeypatch.setattr(PartFile, "write", write)
    (folder := tmp_path / "disk").mkdir()
    left_behind: list[str] = []
    script: Script = {"SIZE": b"213 %d" % TOLD, "RETR": sends_on(FLOOD)}
    with descriptors.none_left():
        async with served(tmp_path, security, script) as server:
            server.files["/f"] = b"it does not matter"
            session = await connect(server)
            attempt = Attempt(
                plan=Plan(Direction.DOWNLOAD, "site", "/f", "disk", ("f",), Options(verify=verify)),
                session=session,
                root=LocalRoot("disk", folder),
                author=Author("test", Origin("tasks", 0, 0), 1),
                buffer=memoryview(bytearray(mover.BUFFER_BYTES)),
                moved=lambda _: None,
                left_behind=left_behind.append,
                resume_above_bytes=1,
            )
            with bounded_memory(), trio.fail_after(HANG_S), pytest.raises(TransferMismatch) as caught:
                await download(attempt)
            assert caught.value.code is ErrorCode.SIZE_MISMATCH
            assert not session.usable
            await server.all_left()
    assert sum(written) <= TOLD
    assert list(folder.iterdir()) == []
    assert (left_behind, attempt.memory.kept) == ([], None)
