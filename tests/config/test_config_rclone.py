"""Every option of rclone's ``type = ftp``: what the server sees of it, or why it is refused."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio
import trustme

from pooler.config import Configuration
from pooler.config.obscure import obscure
from pooler.config.problems import Problems
from pooler.config.remotes import Connections, FtpRemote
from pooler.config.sections import read
from pooler.config.settings import Settings
from pooler.crew import assemble
from pooler.errors import RemoteError
from pooler.ftp.connector import FtpConnector
from pooler.ftp.session import FtpSession
from pooler.model.outcome import Ended, Parked, Spread
from pooler.ops.metrics import Metrics
from pooler.remotes import connector
from tests.support.answers import MLST_LINE, feat, sends
from tests.support.moving import fetch, store
from tests.support.proxies import http_proxy, socks5_proxy
from tests.support.scripted import PASSWORD, USER, Script, ScriptedServer, scripted_server

OPTIONS = [
    line
    for line in (Path(__file__).parent / "samples/rclone-ftp-options.txt").read_text().splitlines()
    if not line.startswith("#")
]
LISTING: Script = {
    "FEAT": feat(MLST_LINE),
    "CWD": b"250 Changed.",
    "MLSD": sends(b"type=file;size=1;modify=20261123093000; f\r\n"),
    "LIST": sends(b"-rw-r--r-- 1 u g 1 Nov 23 09:30 f\r\n"),
    "LIST -a": sends(b"-rw-r--r-- 1 u g 1 Nov 23 09:30 f\r\n"),
}

Keys = Mapping[str, str]


def connections(keys: Keys) -> tuple[Connections, Problems]:
    problems = Problems()
    text = "[a]\ntype = ftp\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
    found = read(text, "rclone.conf", {"USER": "os-user"}, problems, file_format="rclone", local_root=None)
    return found, problems


def loaded(keys: Keys) -> FtpRemote:
    found, problems = connections(keys)
    assert problems.mistakes == ()
    (only,) = found.remotes
    return only


def to(server: ScriptedServer, keys: Keys) -> FtpConnector:
    """Make a connector of a section that names a scripted server, where its keys name nothing else."""
    own: dict[str, str] = {
        "host": server.host,
        "port": str(server.port),
        "user": USER,
        "pass": obscure(PASSWORD),
    }
    return connector(loaded(own | dict(keys)), Settings())


@asynccontextmanager
async def logged_in(
    keys: Keys, script: Script | None = None, **server: Any
) -> AsyncIterator[tuple[ScriptedServer, FtpSession]]:
    async with scripted_server(script, **server) as running:
        session = await to(running, keys).connect()
        try:
            yield running, session
        finally:
            await session.aclose()


@asynccontextmanager
async def secured(
    keys: Keys, folder: Path, *, version: ssl.TLSVersion | None = None, ciphers: str | None = None
) -> AsyncIterator[tuple[ScriptedServer, Keys]]:
    """Run a server with TLS and a certificate that can do with any cipher; give what reaches it."""
    authority = trustme.CA(key_type=trustme.KeyType.RSA)
    authority.cert_pem.write_to_path(folder / "own.pem")
    async with scripted_server(tls_folder=folder) as server:
        server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA).configure_cert(server.context)
        if version is not None:
            server.context.maximum_version = version
        if ciphers is not None:
            server.context.set_ciphers(ciphers)
        yield server, {"explicit_tls": "true", "ca_file": str(folder / "own.pem"), **keys}


# ---- what is seen of an option: of a section without it, and of one with it -------------------------


async def host(keys: Keys, _: Path) -> object:
    async with scripted_server() as server:
        given = {"port": str(server.port), "user": USER, "pass": obscure(PASSWORD), **keys}
        found, problems = connections(given)
        if not found:
            return problems.mistakes
        session = await connector(found.remotes[0], Settings()).connect()
        await session.aclose()
        return server.clients


async def login(keys: Keys, _: Path) -> object:
    script: Script = {"PASS": b"230 Welcome."}
    async with scripted_server(script) as server:
        own = {"host": server.host, "port": str(server.port), **keys}
        session = await connector(loaded(own), Settings()).connect()
        await session.aclose()
        return server.commands[:2]


async def port(keys: Keys, _: Path) -> object:
    await trio.lowlevel.checkpoint()
    return connector(loaded({"host": "h", **keys}), Settings()).profile.port


async def implicit(keys: Keys, folder: Path) -> object:
    server: dict[str, Any] = {"tls_folder": folder, "implicit": True} if keys else {}
    trust = {"ca_file": str(folder / "ca.pem")} if keys else {}
    async with logged_in({**trust, **keys}, **server) as (running, session):
        return session.tls_version is not None, "AUTH" in running.verbs()


async def explicit(keys: Keys, folder: Path) -> object:
    trust = {"ca_file": str(folder / "ca.pem")} if keys else {}
    async with logged_in({**trust, **keys}, tls_folder=folder) as (running, session):
        return session.tls_version is not None, "AUTH" in running.verbs()


async def trusting(keys: Keys, folder: Path) -> object:
    async with scripted_server(tls_folder=folder) as server:
        return await tls_of(to(server, {"explicit_tls": "true", **keys}))


async def ciphers(keys: Keys, folder: Path) -> object:
    weak = "AES128-SHA256"
    async with secured(keys, folder, version=ssl.TLSVersion.TLSv1_2, ciphers=weak) as (server, own):
        return await tls_of(to(server, own))


async def version(keys: Keys, folder: Path) -> object:
    async with secured(keys, folder) as (server, own):
        return await tls_of(to(server, own))


async def tls_of(to_server: FtpConnector) -> str | None:
    try:
        session = await to_server.connect()
    except RemoteError as error:
        return type(error).__name__
    await session.aclose()
    return session.tls_version


async def resumed(keys: Keys, folder: Path) -> object:
    async with secured(keys, folder) as (server, own):
        session = await to(server, own).connect()
        async with session.storing("/f") as upload:
            await upload.send_all(memoryview(b"x"))
        await session.aclose()
        return upload.tls_resumed


async def passive(keys: Keys, _: Path) -> object:
    async with logged_in(keys) as (server, session):
        server.files["/f"] = b"x"
        assert await fetch(session, "/f") == b"x"
        return [verb for verb in server.verbs() if verb in {"EPSV", "PASV"}]


async def listed(keys: Keys, _: Path) -> object:
    async with logged_in(keys, LISTING) as (server, session):
        async with session.listing("/") as entries:
            assert [entry.name async for entry in entries] == ["f"]
        return [line for line in server.commands if line.startswith(("LIST", "MLSD"))]


async def utf8(keys: Keys, _: Path) -> object:
    async with logged_in(keys, {"FEAT": feat(b" UTF8"), "OPTS": b"200 Yes."}) as (server, _session):
        return "OPTS UTF8 ON" in server.commands


async def dated(keys: Keys, _: Path) -> object:
    async with logged_in(keys, {"MDTM": b"213 20261123093000", "SITE": b"502 No."}) as (server, session):
        server.commands.clear()
        is_set = await session.set_modified("/f", datetime(2026, 11, 23, 9, 30, tzinfo=UTC))
        return is_set, "MDTM 20261123093000 /f" in server.commands


async def named(keys: Keys, _: Path) -> object:
    async with logged_in(keys) as (server, session):
        await store(session, "/a*", b"x")
        return list(server.files)


async def proxied(keys: Keys, _: Path) -> object:
    async with socks5_proxy() as socks, http_proxy() as http:
        given = {
            key: value.format(socks=socks.profile.port, http=http.profile.port) for key, value in keys.items()
        }
        async with logged_in(given) as (server, session):
            server.files["/f"] = b"x"
            assert await fetch(session, "/f") == b"x"
        return len(socks.asked), len(http.asked)


async def limits(keys: Keys, _: Path) -> object:
    found, _problems = connections({"host": "h", **keys})
    profile = connector(found.remotes[0], Settings()).profile
    answers, answered = trio.open_memory_channel[Ended | Parked | Spread](0)
    async with answers, answered:
        metrics = Metrics("0", ["a"])
        configuration = Configuration(Settings(), found)
        crew = assemble(configuration, wants=lambda _: True, answers=answers, metrics=metrics, window=1)
    idle_s = crew.fleet.remotes["a"].policy.idle_s
    return found.remotes[0].max_sessions, idle_s, profile.exchange_s, profile.final_s


async def said(keys: Keys, _: Path) -> object:
    async with logged_in(keys) as (server, _session):
        return server.commands


class Honoured(NamedTuple):
    """An option that does something.

    Attributes:
        value: what it is set to.
        seen: gives what is seen of it.
        without: what that is without the option.
        with_it: and with it.
    """

    value: str
    seen: Callable[[Keys, Path], Awaitable[object]]
    without: object
    with_it: object


MISSING = ("rclone.conf:1:1: a.host: missing: expected the name or address of the server",)
HONOURED = {
    "host": Honoured("127.0.0.1", host, MISSING, ["127.0.0.1"]),
    "user": Honoured("anna", login, ["USER os-user", "PASS "], ["USER anna", "PASS "]),
    "port": Honoured("2121", port, 21, 2121),
    "pass": Honoured(
        "YWFhYWFhYWFhYWFhYWFhYXMaGgIlEQ",
        login,
        ["USER os-user", "PASS "],
        ["USER os-user", "PASS potato"],
    ),
    "tls": Honoured("true", implicit, (False, False), (True, False)),
    "explicit_tls": Honoured("true", explicit, (False, False), (True, True)),
    "concurrency": Honoured("3", limits, (None, 300, 60, None), (3, 300, 60, None)),
    "no_check_certificate": Honoured("true", trusting, "TlsError", "TLSv1.3"),
    "disable_epsv": Honoured("true", passive, ["EPSV"], ["PASV"]),
    "disable_mlsd": Honoured("true", listed, ["MLSD /"], ["LIST"]),
    "disable_utf8": Honoured("true", utf8, True, False),
    "writing_mdtm": Honoured("true", dated, (False, False), (True, True)),
    "force_list_hidden": Honoured("true", listed, ["MLSD /"], ["LIST -a"]),
    "idle_timeout": Honoured("1m30s", limits, (None, 300, 60, None), (None, 90, 60, None)),
    "close_timeout": Honoured("1m30s", limits, (None, 300, 60, None), (None, 300, 90, None)),
    "tls_cache_size": Honoured("0", resumed, True, False),
    "disable_tls13": Honoured("true", version, "TLSv1.3", "TLSv1.2"),
    "allow_insecure_tls_ciphers": Honoured("true", ciphers, "TlsError", "TLSv1.2"),
    "shut_timeout": Honoured("1m30s", limits, (None, 300, 60, None), (None, 300, 60, 90)),
    "socks_proxy": Honoured("127.0.0.1:{socks}", proxied, (0, 0), (2, 0)),
    "http_proxy": Honoured("http://127.0.0.1:{http}", proxied, (0, 0), (0, 2)),
    "encoding": Honoured("Slash,Asterisk", named, ["/a*"], ["/a\uff0a"]),
}
REFUSED = {
    "ask_password": "nobody is there to be asked: expected false, and pass or pass_file",
    "no_check_upload": (
        "every upload is checked: expected false, or no such key; verify = none compares nothing, "
        "and write_only = true is for folders that show nothing"
    ),
}
FOR_PEOPLE = {"description": "words"}


def test_all_of_them_are_here() -> None:
    assert len(OPTIONS) == 25
    assert sorted([*HONOURED, *REFUSED, *FOR_PEOPLE]) == sorted(OPTIONS)


@pytest.mark.parametrize("option", HONOURED)
async def test_an_option_is_honoured(tmp_path: Path, option: str) -> None:
    value, seen, without, with_it = HONOURED[option]
    assert await seen({}, tmp_path) == without
    assert await seen({option: value}, tmp_path) == with_it
    assert without != with_it


@pytest.mark.parametrize("option", REFUSED)
def test_an_option_is_refused_by_name_with_what_to_do_instead(option: str) -> None:
    found, problems = connections({"host": "h", option: "true"})
    assert not found
    place = f"rclone.conf:4:{len(option) + 4}"
    assert problems.mistakes == (f"{place}: a.{option}: {REFUSED[option]}",)
    assert connections({"host": "h", option: "false"})[1].mistakes == ()


@pytest.mark.parametrize("option", FOR_PEOPLE)
async def test_words_for_people_change_nothing(tmp_path: Path, option: str) -> None:
    keys = {option: FOR_PEOPLE[option]}
    assert await said(keys, tmp_path) == await said({}, tmp_path)
    assert connections({"host": "h", **keys})[1].warnings == ()


@pytest.mark.parametrize("key", ["global.checksum", "override.no_check_certificate"])
def test_what_sets_rclone_itself_is_refused_as_such(key: str) -> None:
    found, problems = connections({"host": "h", key: "true"})
    assert not found
    assert problems.mistakes == (
        (
            f"rclone.conf:4:1: a.{key}: a setting of rclone itself: expected no such key, "
            "and what this remote is to do by keys of its own"
        ),
    )
