"""Looks at Kafka, the local folders and the remotes, and says what it finds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from pooler.bus.examine import examine as examine_topics
from pooler.bus.topics import Finding as TopicFinding
from pooler.cli import exits
from pooler.cli.doctor.findings import Finding
from pooler.cli.ftp.hand import FOR_GOOD, Hand
from pooler.cli.ftp.probing import examine as examine_remote
from pooler.config import Configuration
from pooler.config.remotes import FtpRemote
from pooler.errors import PoolerError, leaves
from pooler.storage.root import LocalRoot
from pooler.storage.tenancy import try_out
from pooler.transfer.names import incarnation

_AT_ONCE: Final = 8
_SOON_DAYS: Final = 30


@dataclass(slots=True)
class Examined:
    """A remote, and what was found of it.

    Attributes:
        remote: as configured.
        addresses: of its host.
        facts: what its server has told; empty where nobody could log in.
        findings: what is right and wrong.
    """

    remote: FtpRemote
    addresses: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


async def kafka(configuration: Configuration) -> list[Finding]:
    """Ask the brokers."""
    settings = configuration.settings
    where = ", ".join(settings.kafka.bootstrap_servers)
    made: list[Finding] = []
    try:
        found = await examine_topics(settings.kafka, settings.retry.deadline_seconds)
    except* PoolerError as group:
        made += [Finding("fail", "kafka", str(error), exits.FATAL) for error in leaves(group)]
    else:
        made.append(Finding("ok", "kafka", f"{where} answers"))
        made += [_of_topic(one, stops=settings.kafka.topic_checks == "stop") for one in found]
    return made


def _of_topic(found: TopicFinding, *, stops: bool) -> Finding:
    subject = f"topic {found.topic}"
    if found.kind == "stop" and stops:
        return Finding("fail", subject, found.text, exits.FATAL)
    return Finding("warn", subject, found.text)


async def folders(configuration: Configuration) -> list[Finding]:
    """Make, flush, rename and remove a file in each local folder."""
    made = []
    for folder in configuration.connections.folders:
        root = LocalRoot(
            folder.name, folder.path, stall_s=configuration.settings.transfer.disk_timeout_seconds
        )
        subject = f"folder {folder.name}"
        try:
            free = await root.run(try_out, root, incarnation)
        except PoolerError as error:
            made.append(Finding("fail", subject, str(error), exits.FATAL))
        else:
            made.append(Finding("ok", subject, f"{folder.path}: {free / 1e9:.1f} GB are free"))
    return made


async def remotes(configuration: Configuration, names: Sequence[str], write: str | None) -> list[Examined]:
    """Look at remotes, some at once; in the order of their names given."""
    examined: dict[str, Examined] = {}
    limiter = trio.CapacityLimiter(_AT_ONCE)

    async def one(name: str) -> None:
        async with limiter:
            examined[name] = await _remote(configuration, name, write)

    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(one, name)
    return [examined[name] for name in names]


async def _remote(configuration: Configuration, name: str, write: str | None) -> Examined:
    subject = f"remote {name}"
    try:
        hand = Hand(configuration, f"{name}:", folder=True)
        made = Examined(hand.remote)
        made.addresses = await _resolve(hand.remote)
        made.facts, failures = await examine_remote(write, hand)
    except OSError as error:
        made.findings.append(
            Finding("fail", subject, f"{made.remote.host}: no address: {error}", exits.TEMPORARY)
        )
        return made
    except PoolerError as error:
        made.findings.append(_failure(subject, error))
        return made
    made.findings += [_failure(subject, error) for error in failures]
    made.findings += [Finding("warn", subject, text) for text in _doubts(made)]
    if not failures:
        tried = "login, listing" if write is None else "login, listing, write, rename and removal"
        made.findings.insert(0, Finding("ok", subject, f"{tried} at {made.facts['address']}"))
    return made


async def _resolve(remote: FtpRemote) -> tuple[str, ...]:
    if remote.proxy is not None:
        return ()  # the proxy's to find
    found = await trio.socket.getaddrinfo(remote.host, remote.port, type=trio.socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def _failure(subject: str, error: PoolerError) -> Finding:
    for_good = error.code in FOR_GOOD or not error.retriable
    return Finding("fail", subject, str(error), exits.JOBS_FAILED if for_good else exits.TEMPORARY)


def _doubts(made: Examined) -> Iterator[str]:
    facts = made.facts
    if facts["tls_version"] is None:
        yield "no TLS: the password and all files pass in plain text"
    if facts.get("tls_weakness"):
        yield f"weak TLS: {facts['tls_weakness']}"
    days = facts.get("certificate_days_left")
    if days is not None and days < _SOON_DAYS:
        yield f"the certificate ends in {days} days"
    korean = facts.get("korean_name", "ok")
    if korean != "ok":
        yield f"a name in Hangul: {korean}"
