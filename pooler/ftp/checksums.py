"""Checksums that a server computes: HASH (draft-bryan-ftpext-hash), XCRC, XMD5, XSHA256 and so on. Pure.

HASH is the one with a draft: an algorithm is selected once by OPTS HASH, and the reply says which one it is.
The others have no text but each other: replies of 213 or 250, sums in small letters or capitals, CRCs without
their leading zeros, the name before, behind, or not at all, in quotes or not.

Neighbours: `features` says what a server has.
"""

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass

from pooler.errors import PeerProtocolError
from pooler.ftp.features import Features
from pooler.ftp.wire import Command

_SHOWN = 80


@dataclass(frozen=True, slots=True)
class _Kind:
    """An algorithm's row.

    Attributes:
        hash_names: its names with HASH, the draft's first.
        verbs: the commands that give it, the usual one first.
        digits: how many hexadecimal digits it has.
    """

    hash_names: tuple[str, ...]
    verbs: tuple[str, ...]
    digits: int


class Algorithm(enum.Enum):
    """A checksum, by the name that jobs give it; the better ones first."""

    SHA512 = "sha512"
    SHA256 = "sha256"
    SHA1 = "sha1"
    MD5 = "md5"
    CRC32 = "crc32"

    @property
    def digits(self) -> int:
        """How many hexadecimal digits it has."""
        return _KINDS[self].digits


_KINDS = {
    Algorithm.SHA512: _Kind(("SHA-512",), ("XSHA512",), 128),
    Algorithm.SHA256: _Kind(("SHA-256",), ("XSHA256",), 64),
    Algorithm.SHA1: _Kind(("SHA-1", "SHA1"), ("XSHA1", "XSHA"), 40),
    Algorithm.MD5: _Kind(("MD5",), ("XMD5", "MD5"), 32),
    Algorithm.CRC32: _Kind(("CRC32", "CRC-32"), ("XCRC",), 8),
}


@dataclass(frozen=True, slots=True)
class Method:
    """A way to ask one server for one checksum.

    Attributes:
        algorithm: which one it gives.
        verb: the command: HASH, XCRC and so on.
        hash_name: with HASH, the server's name for the algorithm; else None.
    """

    algorithm: Algorithm
    verb: str
    hash_name: str | None = None

    def ask(self, path: bytes) -> Command:
        """Make the command that asks for the checksum of a whole file.

        HASH takes all that follows for the name. The others may take a number behind a space for a range, so
        a path with a space goes in quotes there; one with a quote as well cannot be said.

        Raises:
            ValueError: the path has a space and a quote, and the command is not HASH.
            LocalProtocolError: it has a line end in it.
        """
        if self.hash_name is None and b" " in path:
            if b'"' in path:
                raise ValueError(f"{self.verb} cannot be asked for a name with spaces and quotes")
            path = b'"' + path + b'"'
        return Command(self.verb, path)

    def read(self, text: str, path: str) -> "Checksum":
        """Read the text of the reply.

        Args:
            text: of a 213 or 250, lines joined by spaces.
            path: as it was asked for: it may look like a checksum itself.

        Raises:
            PeerProtocolError: there is not just one checksum of this algorithm in it.
        """
        if self.hash_name is not None:
            return parse_hash(text, self.algorithm)
        return Checksum(self.algorithm, _one_sum(text, self.algorithm, path))


def choose(features: Features, wanted: Iterable[Algorithm] = Algorithm) -> Method | None:
    """Choose how to ask for a checksum: the first one wanted that the server has, by HASH before the others.

    Args:
        features: of the server. What FEAT does not list is not tried.
        wanted: in the order in which they are liked; from the best on by default.

    Returns:
        The way, or None where there is none.
    """
    for algorithm in wanted:
        kind = _KINDS[algorithm]
        for name in kind.hash_names:
            if name in features.hashes:
                return Method(algorithm, "HASH", name)
        for verb in kind.verbs:
            if features.has(verb):
                return Method(algorithm, verb)
    return None


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a server says of a file's bytes.

    Attributes:
        algorithm: which sum.
        hexadecimal: the sum, in small letters, with all its zeros.
        start: the first byte that counts; None where it does not say.
        end: the last; servers differ in whether it still counts. None where it does not say.
        name: of the file, as the server has it; None where it does not say.
    """

    algorithm: Algorithm
    hexadecimal: str
    start: int | None = None
    end: int | None = None
    name: str | None = None

    def is_of(self, path: str, size_bytes: int | None) -> bool:
        """Whether it is, as far as it says, the sum of a whole file.

        Args:
            path: of the file; its last name alone counts, as some servers tell more and some less.
            size_bytes: its size; None where that is not known, and the end then says nothing.
        """
        if self.name is not None and _last_name(self.name) != _last_name(path):
            return False
        if self.start not in {None, 0}:
            return False
        return self.end is None or size_bytes is None or size_bytes - 1 <= self.end <= size_bytes


_HASH_REPLY = re.compile(
    r"([!-~]{1,32}) (?:([0-9]{1,20})-([0-9]{1,20}) )?([0-9A-Fa-f]{1,128})(?: (.*))?", re.DOTALL
)
_TOKEN = re.compile(r"(?<![^\s\"'=:,;(])(?:0x)?([0-9A-Fa-f]{1,128})(?![^\s\"',;.)])")


def parse_hash(text: str, algorithm: Algorithm) -> Checksum:
    """Read the text of a 213 to HASH: ``SHA-256 0-49 6ae1… name`` (draft-bryan-ftpext-hash §3.2).

    Raises:
        PeerProtocolError: it is none, or one of another algorithm.
    """
    match = _HASH_REPLY.fullmatch(text.strip())
    if match is None or match[1].upper() not in _KINDS[algorithm].hash_names:
        raise PeerProtocolError(f"no {algorithm.value} in the reply to HASH: {text[:_SHOWN]!r}")
    digits = match[4].lower()
    if len(digits) != algorithm.digits:
        raise PeerProtocolError(f"no {algorithm.value} in the reply to HASH: {text[:_SHOWN]!r}")
    start, end = (int(match[2]), int(match[3])) if match[2] else (None, None)
    return Checksum(algorithm, digits, start, end, match[5] or None)


def _last_name(path: str) -> str:
    """Give the last name of a path that may stand in quotes; spaces at its ends may have been lost."""
    path = path.strip()
    if len(path) > 1 and path[0] == path[-1] == '"':
        path = path[1:-1].replace('""', '"')
    return path.rpartition("/")[2].strip()


def _one_sum(text: str, algorithm: Algorithm, path: str) -> str:
    """Find the one sum in words around it. Only a CRC may be short of digits, and where nothing else fits."""
    bare = text.replace(path, " ", 1) if path else text
    digits = [match[1].lower() for match in _TOKEN.finditer(bare)]
    whole = {found for found in digits if len(found) == algorithm.digits}
    if not whole and algorithm is Algorithm.CRC32:
        whole = {found.zfill(algorithm.digits) for found in digits if len(found) < algorithm.digits}
    if len(whole) != 1:
        raise PeerProtocolError(f"not one {algorithm.value} in the reply: {text[:_SHOWN]!r}")
    return whole.pop()
