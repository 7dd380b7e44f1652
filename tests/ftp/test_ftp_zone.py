"""Point 20: the zone of listed times, found by one file whose MDTM is known."""

from datetime import UTC, datetime, timedelta

import pytest

from pooler.ftp.connector import FtpConnector
from pooler.ftp.session import FtpSession
from pooler.transfer.session import Entry
from tests.support.answers import MLST_LINE, connect, feat, sends
from tests.support.scripted import Connection, Handler, Script, scripted_server

HOUR_S = 3600.0
EXACT = b"213 20260301121530"


def line(name: str, date: str = "2026-03-01 21:15", kind: str = "-") -> bytes:
    return f"{kind}rw-r--r-- 1 ftp ftp 42 {date} {name}\r\n".encode()


def mdtm(times: dict[str, bytes]) -> Handler:
    async def answer(connection: Connection, argument: bytes) -> None:
        await connection.say(times.get(argument.decode(), b"550 No such file."))

    return answer


async def entries(session: FtpSession, path: str) -> list[Entry]:
    async with session.listing(path) as listing:
        return [entry async for entry in listing]


async def test_point_20_a_listing_is_given_its_zone_by_one_mdtm() -> None:
    lines = line("b") + line("a b", "2026-03-02 00:00") + line("old", "Mar  1  2025") + line("c", kind="d")
    script: Script = {"LIST": sends(lines), "MDTM": mdtm({"/d/b": EXACT})}
    async with scripted_server(script) as server:
        server.folders.add("/d")
        connector = FtpConnector(server.profile())
        session = await connector.connect()
        server.commands.clear()
        first = await entries(session, "/d")
        assert server.commands == ["CWD /d", "EPSV", "LIST", "MDTM /d/b"]
        assert connector.learnt["listed_times_ahead_minutes"] == 9 * 60
        assert [entry.modified for entry in first] == [
            datetime(2026, 3, 1, 12, 15, tzinfo=UTC),
            datetime(2026, 3, 1, 15, tzinfo=UTC),
            datetime(2025, 2, 28, 15, tzinfo=UTC),
            datetime(2026, 3, 1, 12, 15, tzinfo=UTC),
        ]
        # One file cannot tell summer time.
        assert [entry.precision_s for entry in first] == [HOUR_S, HOUR_S, 24 * HOUR_S, HOUR_S]
        await session.aclose()
        session = await connector.connect()
        assert await entries(session, "/d") == first
        assert server.verbs().count("MDTM") == 1
        await session.aclose()


async def test_point_20_a_long_listing_gives_the_next_one_its_zone() -> None:
    lines = b"".join(line(f"{number:05}") for number in range(20_000))
    async with scripted_server({"LIST": sends(lines), "MDTM": mdtm({"/00000": EXACT})}) as server:
        session = await connect(server)
        first = await entries(session, "/")
        assert {entry.modified and entry.modified.tzinfo for entry in first} == {None}
        assert server.commands[-1] == "MDTM /00000"
        assert {entry.modified for entry in await entries(session, "/")} == {
            datetime(2026, 3, 1, 12, 15, tzinfo=UTC)
        }
        assert server.verbs().count("MDTM") == 1
        await session.aclose()


async def test_point_20_the_file_that_changed_longest_ago_to_the_minute_is_asked_about() -> None:
    lines = (
        line("new", "2026-04-01 00:00")
        + line("day", "Mar  1  2025")
        + line("folder", "2026-01-01 00:00", kind="d")
        + line("this")
        + line("newer", "2026-04-02 00:00")
    )
    async with scripted_server({"LIST": sends(lines), "MDTM": EXACT}) as server:
        session = await connect(server)
        await entries(session, "/")
        assert server.commands[-1] == "MDTM /this"
        await session.aclose()


@pytest.mark.parametrize(
    "reply",
    [
        b"213 20260301122200",  # no zone is 8 h 53 min ahead
        b"213 20260228121530",
        b"550 No such file.",
        b"213 yesterday",
    ],
)
async def test_point_20_no_zone_is_guessed_and_three_trials_are_enough(reply: bytes) -> None:
    async with scripted_server({"LIST": sends(line("a")), "MDTM": reply}) as server:
        session = await connect(server)
        for _ in range(5):
            (entry,) = await entries(session, "/")
            assert entry.modified == datetime(2026, 3, 1, 21, 15)  # noqa: DTZ001 - nobody knows its zone
            assert session.usable
        assert server.verbs().count("MDTM") == 3
        assert session.learnt["listed_times_ahead_minutes"] is None
        await session.aclose()


async def test_point_20_a_file_that_changes_right_now_tells_nothing() -> None:
    now = datetime.now(UTC)
    listed = now - timedelta(minutes=30)  # and then written to, which looks like a zone

    async with scripted_server(
        {
            "LIST": sends(line("a", f"{listed:%Y-%m-%d %H:%M}")),
            "MDTM": f"213 {now:%Y%m%d%H%M%S}".encode(),
        }
    ) as server:
        session = await connect(server)
        await entries(session, "/")
        assert server.verbs()[-1] == "MDTM"
        assert session.learnt["listed_times_ahead_minutes"] is None
        await session.aclose()


@pytest.mark.parametrize(
    ("lines", "script", "changes"),
    [
        (line("a"), {}, {"timezone": UTC}),
        (line("a", "2026-03-01 21:15:30.000000000 +0900"), {}, {}),
        (line("a", "Mar  1  2025"), {}, {}),
        (b"", {}, {}),
        (b"type=file;modify=20260301121530; a\r\n", {"FEAT": feat(MLST_LINE)}, {}),
    ],
)
async def test_point_20_nobody_is_asked_where_there_is_nothing_to_ask(
    lines: bytes, script: Script, changes: dict[str, object]
) -> None:
    both = sends(lines)
    async with scripted_server({"LIST": both, "MLSD": both, "MDTM": EXACT, **script}) as server:
        session = await connect(server, **changes)
        await entries(session, "/")
        assert "MDTM" not in server.verbs()
        await session.aclose()


async def test_point_20_where_mdtm_is_unknown_it_is_asked_once() -> None:
    async with scripted_server({"LIST": sends(line("a"))}) as server:
        session = await connect(server)
        for _ in range(3):
            await entries(session, "/")
        assert server.verbs().count("MDTM") == 1
        assert session.learnt["mdtm"] is False
        await session.aclose()


async def test_point_20_with_bare_names_the_file_is_asked_about_by_its_own() -> None:
    async with scripted_server({"LIST": sends(line("a")), "MDTM": EXACT}) as server:
        session = await connect(server, path_style="cwd")
        await entries(session, "/")
        assert server.commands == ["CWD /", "EPSV", "LIST", "MDTM a"]
        await session.aclose()
