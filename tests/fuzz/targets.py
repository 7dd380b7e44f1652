"""What is fuzzed: each target takes any bytes, and raises nothing but for a bug.

A parser may refuse its bytes with the error that its docstring names, and must give the same however they are
cut.
"""

import contextlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pooler.errors import PeerProtocolError
from pooler.ftp.checksums import Algorithm, Method, choose
from pooler.ftp.encoding import Encoding, Flag
from pooler.ftp.entries import Entry
from pooler.ftp.facts import FactsParser, parse_facts, parse_mlst
from pooler.ftp.features import read_features
from pooler.ftp.listing.parser import ListParser
from pooler.ftp.names import decode, encode, fit
from pooler.ftp.passive import parse_epsv, parse_pasv
from pooler.ftp.times import parse_mdtm, parse_mfmt
from pooler.ftp.wire import Reply, ReplyParser

HERE = Path(__file__).parent
SAMPLES = HERE.parent / "ftp" / "samples"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
CHARSETS = ("utf-8", "cp949", "cp932", "gbk", "latin-1", "cp1251", "big5hkscs")

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
    def parse(pieces: list[bytes]) -> tuple[list[Entry], object]:
        parser = ListParser(NOW)
        entries = [entry for piece in pieces for entry in parser.feed(piece)] + parser.finish()
        return entries, (parser.dialect, parser.unread, parser.first_unread)

    _same_however_cut(data, parse)


def times(data: bytes) -> None:
    text = data.decode("latin-1")
    for parse in (parse_mdtm, parse_mfmt):
        with contextlib.suppress(PeerProtocolError):
            parse(text)


def features(data: bytes) -> None:
    lines = data.split(b"\n")
    found = read_features(lines, lines[0].decode("utf-8", "replace"), lines[-1].decode("utf-8", "replace"))
    choose(found)
    if "" in (*found.mlst_facts, *found.hashes, *found.auth, *found.site):
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
        if len(encode(fit(text[:400], charset, after=".part"), charset)) > 255:
            raise AssertionError(charset)
    encoding = Encoding(Flag(int.from_bytes(data[:4], "little") & sum(Flag)))
    name = data[4:].decode("utf-8", "surrogateescape")
    if encoding.decode(encoding.encode(name)) != name:
        raise AssertionError(encoding)


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (wire, passive, facts, listing, times, features, checksums, names)
}


def corpus(target: str) -> list[Path]:
    """Give the inputs of a target that stand in the repository."""
    found = sorted((HERE / "corpus" / target).iterdir())
    return found + sorted(SAMPLES.glob("*.txt")) if target == "listing" else found
