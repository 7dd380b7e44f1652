"""A transfer cut at every byte of its streams: no part is ever taken for the whole, and nothing is left open.

The bytes are those on the wire, under TLS those of its records. At each position the connection ends in a FIN
and in a reset. The whole of TLS takes minutes (``nox -s long``); the usual run takes samples and the ends.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from pooler.errors import ConnectError, DataConnectionError, RemoteError, ReplyError, SessionLost, TlsError
from pooler.ftp.session import FtpSession
from tests.support import descriptors
from tests.support.cut_lives import HANG_S, patient, positions, served
from tests.support.cutting import Cut, Flow, How, Relay, cutting
from tests.support.moving import fetch, store
from tests.support.scripted import ScriptedServer

CONTENT = bytes(range(48))
HOWS: tuple[How, How] = ("FIN", "RST")
CONTROL = (Flow("control", "down"), Flow("control", "up"))
DATA = tuple(Flow(f"data {number}", way) for number in (1, 2) for way in ("down", "up"))


@dataclass(slots=True)
class Life:
    """One session's life, and how far it came.

    Attributes:
        steps: those that have ended well, and how many bytes of each flow had passed by then.
        failure: what ended it; None where it was not disturbed.
        fetched: what the download gave.
        usable: whether the session could be used afterwards.
    """

    server: ScriptedServer
    relay: Relay
    steps: dict[str, dict[Flow, int]] = field(default_factory=dict)
    failure: RemoteError | None = None
    fetched: bytes | None = None
    usable: bool = False

    async def run(self) -> None:
        """Log in, store, ask for a size, fetch; the files are /up and /down."""
        try:
            session = await patient(self.server, self.relay.port).connect()
        except RemoteError as error:
            self.failure = error
            return
        self._done("login")
        try:
            await self._work(session)
        except RemoteError as error:
            self.failure = error
            if error.session_survives:
                await session.keep_alive()  # as well as ever
        finally:
            self.usable = session.usable
            await session.aclose()

    async def _work(self, session: FtpSession) -> None:
        await store(session, "/up", CONTENT)
        self._done("store")
        await session.size("/down")
        self._done("size")
        self.fetched = await fetch(session, "/down")
        self._done("fetch")

    def _done(self, step: str) -> None:
        self.steps[step] = dict(self.relay.passed)


async def live(server: ScriptedServer, cut: Cut | None) -> Life:
    """Live once, with the end of both sides seen to."""
    server.files = {"/down": CONTENT}
    before = descriptors.count()
    with trio.fail_after(HANG_S):
        async with cutting(server, cut) as relay:
            life = Life(server, relay)
            await life.run()
            await server.all_left()
    assert descriptors.count() == before, cut
    return life


def check(life: Life, cut: Cut) -> None:
    """What must hold wherever the cut was."""
    stored = life.server.files.get("/up")
    assert stored in {None, CONTENT}, "a part was taken for the whole"
    assert "store" not in life.steps or stored == CONTENT, "an upload that is not there was reported"
    if cut.flow.connection == "data 2" and cut.how == "FIN" and life.server.context is None:
        # Nothing on the wire tells this end from the server's. Whoever has asked for the size can tell.
        assert CONTENT.startswith(life.fetched or b"")
        assert life.fetched in {None, CONTENT} or (life.usable and not cut.takes_all), "without its 226"
    else:
        assert life.fetched in {None, CONTENT}, "a part was given for the whole"
    assert (life.failure is None) is ("fetch" in life.steps)
    if life.failure is None:
        return
    assert life.usable is ("login" in life.steps and life.failure.session_survives)
    if "login" not in life.steps:
        assert isinstance(life.failure, ConnectError | TlsError)
        assert life.server.files == {"/down": CONTENT}
    elif cut.flow in CONTROL:
        assert isinstance(life.failure, SessionLost), life.failure
    else:
        broken = isinstance(life.failure, DataConnectionError | SessionLost | TlsError)
        assert broken or (isinstance(life.failure, ReplyError) and life.failure.reply_code == 426)


async def cut_everywhere(server: ScriptedServer, *, stride: int) -> AsyncIterator[tuple[Life, Cut, Life]]:
    """Live once whole, then with each cut; give the whole life, the cut, and the life that had it."""
    await trio.to_thread.run_sync(lambda: None)  # the thread that reads passwords stays
    whole = await live(server, None)
    assert whole.failure is None
    assert not whole.relay.has_cut
    for flow in (*CONTROL, *DATA):
        for after in positions(0, whole.relay.passed[flow], stride):
            for how in HOWS:
                for takes_all in {False, flow in DATA}:
                    cut = Cut(flow, after, how, takes_all=takes_all)
                    yield whole, cut, await live(server, cut)


def expected(whole: Life, cut: Cut) -> set[str]:
    """Which steps end well without TLS, to the byte; where data is cut, those before."""
    if cut.flow.connection != "control":
        return {"login"} if cut.flow.connection == "data 1" else {"login", "store", "size"}
    ends = {step: passed[cut.flow] for step, passed in whole.steps.items()}
    if cut.flow.direction == "up":
        return {step for step, end in ends.items() if end < cut.after}  # a command read is not yet answered
    ends["fetch"] -= len(b"226 Done.\r\n")  # the size tells that it is whole
    return {step for step, end in ends.items() if end <= cut.after}


async def test_without_tls_a_cut_at_every_byte_is_told_for_what_it_is(tmp_path: Path) -> None:
    cuts = 0
    async with served(tmp_path, "plain") as server:
        async for whole, cut, life in cut_everywhere(server, stride=1):
            cuts += 1
            check(life, cut)
            disputed = {"fetch"} if cut.flow.connection == "data 2" and cut.how == "FIN" else set()
            assert set(life.steps) - disputed == expected(whole, cut), cut
    assert cuts > 2 * (200 + 80 + 2 * len(CONTENT))


async def under_tls(folder: Path, security: str, *, stride: int) -> int:
    cuts = 0
    async with served(folder, security) as server:
        async for _, cut, life in cut_everywhere(server, stride=stride):
            cuts += 1
            check(life, cut)
            # A signature is a byte longer at times, and a flow with it.
            assert life.relay.has_cut or life.failure is None
    return cuts


@pytest.mark.parametrize("security", ["TLS 1.2", "TLS 1.3"])
async def test_under_tls_a_cut_in_any_record_is_told_for_what_it_is(tmp_path: Path, security: str) -> None:
    assert await under_tls(tmp_path, security, stride=127) > 150


@pytest.mark.long
@pytest.mark.parametrize("security", ["TLS 1.2", "TLS 1.3"])
async def test_under_tls_a_cut_at_every_byte_is_told_for_what_it_is(tmp_path: Path, security: str) -> None:
    assert await under_tls(tmp_path, security, stride=1) > 8000
