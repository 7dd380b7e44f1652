"""Attempts cut short in each exchange of the real client: afterwards their remote's sessions are whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from pooler.ftp.connector import FtpConnector
from tests.support.flow_double import CONTENT, Flow, Shape, download, upload
from tests.support.scripted import Connection, Handler, Script, scripted_server

ATTEMPT_S = 60.0
LARGE_BYTES = 64 << 20  # more than the kernel takes in for us
PATIENCE: dict[str, Any] = dict.fromkeys(("connect_s", "exchange_s", "stall_s"), 1e6)


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read passwords in the loop: a thread's time is not virtual."""

    async def inline(function: Callable[[], str], *, limiter: object) -> str:
        assert limiter
        await trio.lowlevel.checkpoint()
        return function()

    monkeypatch.setattr(trio.to_thread, "run_sync", inline)


def at_first(stall: Handler, verb: str) -> Handler:
    """Stall the first time, and do as a good server does from then on."""
    has_stalled = False

    async def answer(connection: Connection, argument: bytes) -> None:
        nonlocal has_stalled
        if has_stalled:
            await connection.normally(verb, argument)
            return
        has_stalled = True
        await stall(connection, argument)

    return answer


async def silent(connection: Connection, _: bytes) -> None:
    await connection.until_left()


async def amid_the_data(connection: Connection, _: bytes) -> None:
    data = await connection.accept()
    await connection.say(b"150 Go on.")
    await data.send(CONTENT[:5])
    await connection.until_left()


async def behind_the_data(connection: Connection, argument: bytes) -> None:
    data = await connection.accept()
    await connection.say(b"150 Go on.")
    if argument == b"/f":
        await data.send(CONTENT)
        await data.close()
    else:
        await data.receive_all()
    await connection.until_left()


def local(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


STALLS = [
    *((verb, silent, "download") for verb in ("SIZE", "MDTM", "EPSV", "RETR")),
    ("RETR", amid_the_data, "download"),
    ("RETR", behind_the_data, "download"),
    *((verb, silent, "upload") for verb in ("EPSV", "STOR", "SIZE", "RNFR", "RNTO")),
    ("STOR", behind_the_data, "upload"),
]


@pytest.mark.parametrize(("verb", "stall", "way"), STALLS)
async def test_an_attempt_cancelled_in_any_exchange_gives_its_session_back_as_a_dead_one(
    autojump_clock: MockClock, tmp_path: Path, verb: str, stall: Handler, way: str
) -> None:
    autojump_clock.autojump_threshold = 0.02
    (tmp_path / "source").write_bytes(CONTENT)
    script: Script = {verb: at_first(stall, verb)}
    async with scripted_server(script) as server:
        server.files["/f"] = CONTENT
        far: Any = FtpConnector(server.profile(**PATIENCE))
        flow = Flow(tmp_path, Shape(attempt_s=ATTEMPT_S, limit=1), far=far)
        async with flow.running():
            await flow.give(download("f") if way == "download" else upload("g"))
            with trio.fail_after(10 * ATTEMPT_S):
                while not flow.ended:  # noqa: ASYNC110 - in virtual time
                    await trio.sleep(ATTEMPT_S / 4)
            (outcome,) = flow.outcomes().values()
            assert (flow.codes().popitem()[1], outcome.attempts) == ("ok", 2)
            assert server.logins == 2
            (worker,) = flow.remotes["far"].workers
            assert worker.session.usable
        await server.all_left()
        assert flow.remotes["far"].sessions == flow.budget.used == 0
        assert server.files == {"/f": CONTENT} | ({} if way == "download" else {"/g": CONTENT})
        assert local(tmp_path) == {"source": CONTENT} | ({"f": CONTENT} if way == "download" else {})


async def test_a_flow_that_is_cancelled_amid_an_upload_resets_it(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    autojump_clock.autojump_threshold = 0.02
    with (tmp_path / "source").open("wb") as source:
        source.truncate(LARGE_BYTES)
    seen = []

    async def watch(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Send it.")
        seen.append(await data.stream.receive_some(5))
        driving.cancel_scope.cancel()
        try:
            await data.receive_all()
        except trio.BrokenResourceError:
            seen.append(b"reset")

    async with scripted_server({"STOR": watch}) as server:
        far: Any = FtpConnector(server.profile(**PATIENCE))
        flow = Flow(tmp_path, Shape(limit=1), far=far)
        async with flow.running() as driving:
            await flow.give(upload("g"))
            await trio.sleep(3600)
        await server.all_left()
        assert flow.remotes["far"].sessions == flow.budget.used == 0
    assert seen[-1] == b"reset"
