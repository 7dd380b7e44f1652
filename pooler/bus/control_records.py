"""The control topic's records: bytes ↔ what they say. Pure; docs/records.md tells the same to people.

A key says what a record is about: ``remote/NAME/KNOB``, ``login/NAME/DIGEST``, ``pod/INCARNATION``,
``ask/QUESTION`` or ``tell/QUESTION/INCARNATION``, each part percent-encoded. Fields may be added at any time,
and are passed over by who does not know them; so are keys. A record whose ``v`` is not ours is for others,
with one exception: what a pod holds is counted whatever its version, since a pod that nobody counts would be
over the total.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, TypeVar
from urllib.parse import quote, unquote

import msgspec

from pooler.model.control import (
    Ask,
    Claim,
    Gone,
    Knob,
    Login,
    Mode,
    News,
    PodNews,
    RemoteNews,
    Setting,
    Tell,
    Trial,
)

VERSION = 1
MOST_BYTES = 256 * 1024
"""The largest value that is read, and written."""
_MOST_CHARACTERS = 500
_PARTS = {"remote": 2, "login": 2, "pod": 1, "ask": 1, "tell": 2}
_MOST_TOLD = MOST_BYTES - 8 * 1024  # the rest of the record is far smaller than that

_T = TypeVar("_T")
_Text = Annotated[str, msgspec.Meta(max_length=_MOST_CHARACTERS)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=10**9)]
_Large = Annotated[int, msgspec.Meta(ge=0, le=10**15)]
_Real = Annotated[float, msgspec.Meta(ge=0)]


class WrongRecord(ValueError):
    """A record that makes no sense, in words for people."""


class _Version(msgspec.Struct):
    v: _Count


class _Written(msgspec.Struct):
    by: _Text
    at: _Real


class _Work(_Written):
    value: Mode
    why: _Text = ""


class _Number(_Written):
    value: _Large
    why: _Text = ""


class _Login(_Written):
    trial: Trial
    pod: _Text
    reply: _Text = ""


class _Claim(msgspec.Struct):
    holds: _Large
    asks: _Large
    wants: _Large
    total: _Large


class _Pod(msgspec.Struct):
    pod: _Text
    serial: _Large
    at: _Real
    version: _Text
    every_s: _Real
    claims: dict[str, _Claim]
    remotes: dict[str, RemoteNews]


class _Ask(_Written):
    what: _Text
    query: dict[str, Any] = {}


class _Tell(msgspec.Struct):
    pod: _Text
    at: _Real
    body: msgspec.Raw = msgspec.Raw()
    error: _Text = ""


def encode(news: News) -> tuple[bytes, bytes]:
    """Write a record: its key and its value; where there is too much to tell, without the idlest remotes."""
    match news:
        case Setting():
            fields = {"value": news.value, "by": _cut(news.by), "at": news.at, "why": _cut(news.why)}
            return _key("remote", news.remote, news.knob), _value(fields)
        case Login():
            fields = {
                "trial": news.trial,
                "by": news.by,
                "pod": _cut(news.pod),
                "at": news.at,
                "reply": _cut(news.reply),
            }
            return _key("login", news.remote, news.digest), _value(fields)
        case PodNews():
            return _key("pod", news.incarnation), _pod_value(news)
        case Ask():
            asked = {"by": _cut(news.by), "at": news.at, "what": _cut(news.what), "query": news.query}
            return _key("ask", news.name), _value(asked)
        case Tell():
            return _key("tell", news.name, news.by), _tell_value(news)


def tombstone(gone: Gone) -> bytes:
    """Write the key of a record that takes something back; it has no value."""
    return _key(gone.kind, *gone.names)


def decode(key: bytes | None, value: bytes | None) -> News | Gone | None:
    """Read a record.

    Returns:
        None where it is none of ours to understand: a newer version may have written it.

    Raises:
        WrongRecord: it makes no sense.
    """
    kind, names = _names(key)
    if _PARTS.get(kind) != len(names) or (kind == "remote" and names[1] not in set(Knob)):
        return None
    if not value:
        return Gone(kind, names)
    if len(value) > MOST_BYTES:
        raise WrongRecord(f"expected at most {MOST_BYTES} bytes, got {len(value)}")
    if kind == "pod":
        return _pod(names[0], _read(value, _Pod))
    if _read(value, _Version).v != VERSION:
        return None
    return _known(kind, names, value)


def _known(kind: str, names: tuple[str, ...], value: bytes) -> News:
    match kind:
        case "remote":
            return _setting(names[0], Knob(names[1]), value)
        case "login":
            login = _read(value, _Login)
            return Login(names[0], names[1], login.trial, login.by, login.pod, login.at, login.reply)
        case "ask":
            asked = _read(value, _Ask)
            return Ask(names[0], asked.by, asked.at, asked.what, asked.query)
        case _:
            told = _read(value, _Tell)
            body = bytes(told.body) or None
            return Tell(names[0], names[1], told.pod, told.at, body, told.error)


def _setting(remote: str, knob: Knob, value: bytes) -> Setting:
    found = _read(value, _Work) if knob is Knob.WORK else _read(value, _Number)
    return Setting(remote, knob, found.value, found.by, found.at, found.why)


def _pod(incarnation: str, found: _Pod) -> PodNews:
    claims = {}
    for key, claim in found.claims.items():
        if claim.asks < claim.holds:
            raise WrongRecord(f"asks: expected at least what it holds ({claim.holds}), got {claim.asks}")
        claims[key] = Claim(claim.holds, claim.asks, claim.wants, claim.total)
    return PodNews(
        incarnation, found.pod, found.serial, found.at, found.version, found.every_s, claims, found.remotes
    )


def _read(value: bytes, expected: type[_T]) -> _T:
    try:
        return msgspec.json.decode(value, type=expected)
    except (ValueError, RecursionError) as error:
        raise WrongRecord(str(error)) from None


def _key(*parts: str) -> bytes:
    return "/".join(quote(part, safe="") for part in parts).encode()


def _names(key: bytes | None) -> tuple[str, tuple[str, ...]]:
    try:
        kind, *names = (key or b"").decode().split("/")
        return kind, tuple(unquote(name, errors="strict") for name in names)
    except UnicodeDecodeError:
        raise WrongRecord("the key is not UTF-8") from None


def _value(fields: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode({"v": VERSION, **fields})


def _cut(text: str) -> str:
    """Shorten a text, and make sure that it can be written."""
    return text[:_MOST_CHARACTERS].encode(errors="replace").decode()


def _pod_value(news: PodNews) -> bytes:
    fields = {
        "pod": _cut(news.pod),
        "serial": news.serial,
        "at": news.at,
        "version": news.version,
        "every_s": news.every_s,
        "claims": {key: claim._asdict() for key, claim in news.claims.items()},
        "remotes": news.remotes,
    }
    value = _value(fields)
    if len(value) <= MOST_BYTES:
        return value
    busiest = sorted(news.remotes, key=lambda name: _stir(news.remotes[name]), reverse=True)
    fewer = {name: news.remotes[name] for name in busiest[: len(busiest) // 2]}
    return _pod_value(replace(news, remotes=fewer)) if busiest else value


def _tell_value(news: Tell) -> bytes:
    fields: dict[str, Any] = {"pod": _cut(news.pod), "at": news.at, "error": _cut(news.error)}
    if news.body is not None and len(news.body) <= _MOST_TOLD:
        fields["body"] = msgspec.Raw(news.body)
    elif news.body is not None:
        fields["error"] = f"there is too much to tell: {len(news.body)} bytes"
    return _value(fields)


def _stir(news: RemoteNews) -> int:
    return news.busy + news.opening + news.idle + news.waiting
