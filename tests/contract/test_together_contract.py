"""Many files on one session, on every server that we can run: what goes together, and that it is taken."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pooler.ftp.connector import FtpConnector
from pooler.ftp.session import FtpSession
from pooler.model.job import Options
from pooler.transfer.download import download
from pooler.transfer.upload import upload
from tests.contract.test_session_contract import REMOTES, Remote, content, run
from tests.contract.test_transfer_contract import DOWN, UP, attempt, there

DATA = content(300_000)


@pytest.fixture(scope="module", params=REMOTES)
def remote(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    kind, security = request.param
    yield from run(kind, security, tmp_path_factory.mktemp("server"))


def said_since(session: FtpSession, mark: int) -> list[str]:
    """Tell the verbs of a dialogue, and ``.`` where a reply was waited for."""
    words = [line.split()[1] if line.startswith(">") else "." for line in session.transcript[mark:]]
    return [word for word, before in zip(words, [None, *words], strict=False) if (word, before) != (".", ".")]


async def test_one_file_after_another_takes_few_turns(remote: Remote, tmp_path: Path) -> None:
    connector = FtpConnector(remote.profile())
    session = await connector.connect()
    turns: dict[str, list[str]] = {}
    try:
        for number in range(4):
            (tmp_path / "f").write_bytes(DATA)
            mark = len(session.transcript)
            done = await upload(attempt(session, tmp_path, UP, f"/many/{number}", Options()))
            assert (done.bytes_transferred, done.verified) == (len(DATA), "size")
            turns["up"] = said_since(session, mark)
            (tmp_path / "f").unlink()
            mark = len(session.transcript)
            fetched = attempt(session, tmp_path, DOWN, f"/many/{number}", Options(), asks_along=True)
            done = await download(fetched)
            assert done.part is not None
            done.part.publish()
            done.part.settle()
            assert (tmp_path / "f").read_bytes() == DATA
            turns["down"] = said_since(session, mark)
            session._control._transcript.clear()
            assert session.usable
        assert there(remote, "/many") == {str(number): DATA for number in range(4)}
    finally:
        await session.aclose()
    if remote.kind == "own":  # nobody knows its family
        return
    assert session.learnt["commands_together"] is True
    asks = ["SIZE", "MDTM"] if remote.kind == "vsftpd" else ["MLST"]
    ahead = [] if remote.kind == "pyftpdlib" else ["EPSV"]
    before = [] if ahead else ["EPSV", "."]
    first = asks if ahead else [*asks, ".", "EPSV", "."]
    assert turns["down"] == [*first, "RETR", ".", *asks, *ahead, "."]
    assert turns["up"] == [*before, "STOR", ".", "SIZE", *ahead, ".", "RNFR", "RNTO", "."]
    assert session.learnt["asked_along"] is (True if ahead else None)


@pytest.mark.parametrize("size", [1_000, 2_000_000])
async def test_a_folder_that_somebody_removes_is_made_again(
    remote: Remote, tmp_path: Path, size: int
) -> None:
    """Where the data goes out before the server has agreed, it goes out twice then, and nobody notices."""
    data = content(size)
    (tmp_path / "f").write_bytes(data)
    session = await FtpConnector(remote.profile()).connect()
    try:
        for number in range(3):
            done = await upload(attempt(session, tmp_path, UP, f"/gone/{number}", Options()))
            assert (done.bytes_transferred, done.verified) == (size, "size")
            assert there(remote, "/gone") == {str(number): data}
            shutil.rmtree(remote.server.root / "gone")
            assert session.usable
    finally:
        await session.aclose()


async def test_data_that_does_not_wait_for_the_server_to_agree(remote: Remote, tmp_path: Path) -> None:
    session = await FtpConnector(remote.profile()).connect()
    try:
        for number, size in enumerate((0, 1, 100_000, 3_000_000)):
            (tmp_path / "f").write_bytes(content(size))
            await upload(attempt(session, tmp_path, UP, f"/ahead/{number}", Options()))
            assert there(remote, "/ahead")[str(number)] == content(size)
        sends_ahead = remote.kind != "own" and remote.security == "plain"
        assert session.learnt["data_ahead"] is (True if sends_ahead else None)
    finally:
        await session.aclose()
