"""Many files on one session, on every server that we can run: what goes together, and that it is taken."""

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
            done = await download(attempt(session, tmp_path, DOWN, f"/many/{number}", Options()))
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
    first = [*asks, "."] if ahead else [*asks, ".", "EPSV", "."]
    assert turns["down"] == [*first, "RETR", ".", *asks, *ahead, "."]
    assert turns["up"] == [*before, "STOR", ".", "SIZE", ".", "RNFR", "RNTO", *ahead, "."]
