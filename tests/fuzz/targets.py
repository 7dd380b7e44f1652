"""What is fuzzed of the client: each target takes any bytes, and raises nothing but for a bug.

A parser may refuse its bytes with the error that its docstring names, and must give the same however they are
cut. ``service_targets`` has the other parsers.
"""

import contextlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TypeVar

from pooler.errors import LocalProtocolError, PeerProtocolError, ReplyError
from pooler.ftp.checksums import Algorithm, Method, choose
from pooler.ftp.dialogue import Dialogue, Event, Final
from pooler.ftp.encoding import Encoding, Flag, parse_encoding
from pooler.ftp.entries import Entry
from pooler.ftp.facts import FactsParser, parse_facts, parse_mlst
from pooler.ftp.features import read_features
from pooler.ftp.listing.parser import ListParser
from pooler.ftp.names import Form, NameCodec, decode, encode
from pooler.ftp.passive import parse_epsv, parse_pasv
from pooler.ftp.replies import classify, farewell, is_vague
from pooler.ftp.state import TABLE, State
from pooler.ftp.times import SECOND, format_time_val, parse_mdtm, parse_mfmt, with_year, zone_offset
from pooler.ftp.wire import Command, Reply, ReplyParser
from tests.fuzz.service_targets import SERVICE_TARGETS

HERE = Path(__file__).parent
SAMPLES = HERE.parent / "ftp" / "samples"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
WALL_CLOCK = NOW.replace(tzinfo=None)
CHARSETS = ("utf-8", "cp949", "cp932", "gbk", "latin-1", "cp1251", "big5hkscs")

VERBS = sorted({verb for row in TABLE.values() for verb in row if verb})
ASIDE, AT_ONCE = 2, 3

T = TypeVar("T")


def _same_however_cut(data: bytes, parse: Callable[[list[bytes]], T]) -> None:
    """Compare what the whole gives with what its pieces give, their size taken from the data itself."""
    step = data[0] % 7 + 1 if data else 1
    outcomes: list[T | None] = []
    for pieces in ([data], [data[at : at + step] for at in range(0, len(data), step)]):
        try:
            outcomes.append(parse(pieces))
        except PeerProtocolError:
            outcomes.append(None)
    if outcomes[0] != outcomes[1]:
        raise AssertionError(f"pieces of {step} bytes give something else")


def wire(data: bytes) -> None:
    def parse(pieces: list[bytes]) -> tuple[list[Reply], bool]:
        parser, replies = ReplyParser(), []
        for piece in pieces:
            parser.feed(piece)
            while (reply := parser.next_reply()) is not None:
                replies.append(reply)
        return replies, parser.in_doubt

    _same_however_cut(data, parse)


def dialogue(data: bytes) -> None:
    """Each piece between 0xFF is what the server says; its first byte chooses what is sent before."""
    talk, sent, ended = Dialogue(max_outstanding=AT_ONCE, max_beside=ASIDE), 1, 0

    def count(events: list[Event]) -> int:
        return sum(isinstance(event, Final) for event in events)

    for move in data.split(b"\xff"):
        if talk.state in {State.SECURING, State.CLEARING}:
            talk.transport_changed()
        with contextlib.suppress(LocalProtocolError):
            talk.send(Command(VERBS[(move or b"\0")[0] % len(VERBS)]))
            sent += 1
        try:
            ended += count(talk.receive(move[1:]))
            if talk.in_doubt:
                ended += count(talk.settle())
        except PeerProtocolError:
            if talk.state is not State.CLOSED:
                # A reply that was settled has no place here: whoever asked gives the session up.
                talk.close()
    if not sent - AT_ONCE - ASIDE <= ended <= sent and talk.state is not State.CLOSED:
        raise AssertionError(f"{sent} commands, {ended} ends")


def replies(data: bytes) -> None:
    """The first two bytes choose the code, the next the command, the rest is the text."""
    code = int.from_bytes(data[:2], "big") % 400 + 200
    reply = Reply(code, (data[3:].replace(b"\n", b" "),))
    for command in (None, Command(VERBS[data[2] % len(VERBS)], b"/a")) if len(data) > 2 else (None,):
        error = classify(reply, command)
        if isinstance(error, ReplyError):
            is_vague(error)
    farewell(reply)


def passive(data: bytes) -> None:
    text = data.decode("utf-8", "backslashreplace")
    for parse in (parse_pasv, parse_epsv):
        with contextlib.suppress(PeerProtocolError):
            address = parse(text)
            if not 1 <= address.port <= 65535:
                raise AssertionError(address)


def facts(data: bytes) -> None:
    def parse(pieces: list[bytes]) -> list[Entry]:
        parser = FactsParser()
        return [entry for piece in pieces for entry in parser.feed(piece)] + parser.finish()

    _same_however_cut(data, parse)
    for line in data.split(b"\n"):
        with contextlib.suppress(PeerProtocolError):
            if not line.endswith(parse_facts(line).name):
                raise AssertionError(line)
    with contextlib.suppress(PeerProtocolError):
        parse_mlst(data.split(b"\n"))


def listing(data: bytes) -> None:
    zone = timezone(timedelta(minutes=15 * (data[0] % 105 - 48))) if data and data[0] % 2 else None

    def parse(pieces: list[bytes]) -> tuple[list[Entry], object]:
        parser = ListParser(NOW, zone)
        entries = [entry for piece in pieces for entry in parser.feed(piece)] + parser.finish()
        return entries, (parser.dialect, parser.unread, parser.first_unread)

    _same_however_cut(data, parse)


def times(data: bytes) -> None:
    text = data.decode("latin-1")
    with contextlib.suppress(PeerProtocolError):
        parse_mfmt(text)
    with contextlib.suppress(PeerProtocolError):
        moment, _ = parse_mdtm(text)
        if parse_mdtm(format_time_val(moment)) != (moment.replace(microsecond=0), SECOND):
            raise AssertionError(moment)
        with contextlib.suppress(ValueError):
            zone_offset(WALL_CLOCK, moment)
    month, day, hour, minute = data[:4].ljust(4, b"\0")
    with contextlib.suppress(ValueError):
        if with_year(month, day, hour, minute, WALL_CLOCK) > WALL_CLOCK + timedelta(days=1):
            raise AssertionError(data[:4])


def features(data: bytes) -> None:
    lines = data.split(b"\n")
    found = read_features(lines, lines[0].decode("utf-8", "replace"), lines[-1].decode("utf-8", "replace"))
    choose(found)
    if "" in (*found.mlst_facts, *found.hashes):
        raise AssertionError(found)
    hash((found, found.quirks))


def checksums(data: bytes) -> None:
    text, _, path = data.decode("utf-8", "backslashreplace").partition("\n")
    for algorithm in Algorithm:
        for method in (Method(algorithm, "HASH", "X"), Method(algorithm, "X")):
            with contextlib.suppress(PeerProtocolError):
                if len(method.read(text, path).hexadecimal) != algorithm.digits:
                    raise AssertionError(text)


def names(data: bytes) -> None:
    for charset in CHARSETS:
        text = decode(data, charset)
        if encode(text, charset) != data:
            raise AssertionError(charset)
        if len(encode(NameCodec(charset).fit(text[:400], after=".part"), charset)) > 255:
            raise AssertionError(charset)


def encoding(data: bytes) -> None:
    """The first four bytes choose the flags, the next the charset, the rest is the name."""
    chosen = Encoding(Flag(int.from_bytes(data[:4], "little") & sum(Flag)))
    name = data[4:].decode("utf-8", "surrogateescape")
    if chosen.decode(chosen.encode(name)) != name:
        raise AssertionError(chosen)
    if parse_encoding(str(chosen)) != chosen:
        raise AssertionError(chosen)
    with contextlib.suppress(ValueError):
        parse_encoding(name)
    codec = NameCodec(CHARSETS[len(data) % len(CHARSETS)], form=Form.NFC, encoding=chosen)
    codec.from_wire(data[4:])
    codec.other_form(name)
    with contextlib.suppress(ValueError):
        codec.to_wire(name, creating=True)


_CLIENT = (wire, dialogue, replies, passive, facts, listing, times, features, checksums, names, encoding)
TARGETS: Mapping[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (*_CLIENT, *SERVICE_TARGETS)
}


def corpus(target: str) -> list[Path]:
    """Give the inputs of a target that stand in the repository."""
    found = sorted((HERE / "corpus" / target).iterdir())
    return found + sorted(SAMPLES.glob("*.txt")) if target == "listing" else found
