"""``probe``: what a server is and can do."""

from collections.abc import Awaitable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import trio

from pooler.cli.ftp.files import beside, same_size
from pooler.cli.ftp.hand import Hand
from pooler.cli.ftp.streams import show
from pooler.errors import PeerProtocolError, PoolerError
from pooler.ftp.passive import parse_epsv, parse_pasv
from pooler.ftp.session import FtpSession

_PROBE: Final = b"pooler ftp probe\n"
_HANGUL: Final = "한글 이름"


async def probe(write: str | None, output: str, hand: Hand) -> None:
    """Try a login, a listing and, in the folder ``write``, a small file; show what all of that has told."""
    report, failures = await examine(write, hand)
    await show(report, output)
    if failures:
        raise failures[0]


async def examine(write: str | None, hand: Hand) -> tuple[dict[str, Any], list[PoolerError]]:
    """Try a login, a listing and, in the folder ``write``, a small file.

    Returns:
        What all of that has told, and what went wrong behind the login.

    Raises:
        RemoteError: the login went wrong.
    """
    folder = None if write is None else hand.resolve(write, folder=True)
    failures: list[PoolerError] = []
    began = trio.current_time()
    async with hand.connected() as session:
        report: dict[str, Any] = {
            "remote": hand.remote.name,
            "address": session.peer.address,
            "login_s": round(trio.current_time() - began, 3),
            "tls_version": session.peer.tls_version,
            "tls_cipher": session.tls_cipher,
        }
        certificate = session.certificate
        if certificate is not None:
            expires = certificate.not_after
            report["certificate_sha256"] = certificate.sha256
            report["certificate_not_after"] = expires
            report["certificate_days_left"] = (expires - datetime.now(UTC)).days if expires else None
        report["listing"] = await _tried(_list_all(session, hand.path, report), failures)
        if folder is not None and session.usable:
            report["write"] = await _tried(_write_and_remove(hand, session, folder), failures)
        if folder is not None and session.usable:
            report["korean_name"] = await _name_comes_back(hand, session, folder)
        report |= session.learnt
    return report, failures


async def _tried(step: Awaitable[None], failures: list[PoolerError]) -> str:
    try:
        await step
    except PoolerError as error:
        failures.append(error)
        return str(error)
    return "ok"


async def _list_all(session: FtpSession, path: str, report: dict[str, Any]) -> None:
    try:
        async with session.listing(path) as entries:
            report["entries"] = 0
            async for _ in entries:
                report["entries"] += 1
    finally:
        report["passive_port"] = _passive_port(session.transcript)


async def _write_and_remove(hand: Hand, session: FtpSession, folder: str) -> None:
    first = beside(f"{folder.rstrip('/')}/")
    second = f"{first}.renamed"
    left = [first, second]
    try:
        async with session.storing(first) as stream:
            await stream.send_all(memoryview(_PROBE))
        same_size(await session.size(first), len(_PROBE), "were sent")
        await session.rename(first, second)
        await session.remove(second)
        left.clear()
    finally:
        await hand.sweep(left)  # noqa: ASYNC102 - shielded there, with a deadline


async def _name_comes_back(hand: Hand, session: FtpSession, folder: str) -> str:
    """Tell what becomes of a name in Hangul; no failure, since many a server has never seen one."""
    name = f"{beside('/').removeprefix('/').removesuffix('.part')}-{_HANGUL}"
    path = f"{folder.rstrip('/')}/{name}"
    left = [path]
    try:
        async with session.storing(path):
            pass
        async with session.listing(folder) as entries:
            names = [entry.name async for entry in entries if entry.name.startswith(name[: -len(_HANGUL)])]
        await session.remove(path)
        left.clear()
    except PoolerError as error:
        return str(error)
    finally:
        await hand.sweep(left)  # noqa: ASYNC102 - shielded there, with a deadline
    if name in names:
        return "ok"
    return f"comes back as {', '.join(found[-len(_HANGUL) * 3 :] for found in names) or 'nothing'}"


def _passive_port(transcript: tuple[str, ...]) -> int | None:
    """Find the port that the server opened last, in the dialogue."""
    for line in reversed(transcript):
        with suppress(PeerProtocolError):
            if " 229 " in line:
                return parse_epsv(line.partition(" 229 ")[2]).port
            if " 227 " in line:
                return parse_pasv(line.partition(" 227 ")[2]).port
    return None
