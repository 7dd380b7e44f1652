"""Checksums that servers compute: the choice, the commands, and replies in the dialects there are."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.errors import LocalProtocolError, PeerProtocolError
from pooler.ftp.checksums import Algorithm, Checksum, Method, choose, parse_hash
from pooler.ftp.features import Features, read_features
from pooler.ftp.wire import Command

MD5 = "9e107d9d372bb6826bd81d3542a419d6"
SHA1 = "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12"
SHA256 = "d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592"


def server(*lines: str) -> Features:
    return read_features([b"Features", *(f" {line}".encode() for line in lines), b"End"])


@pytest.mark.parametrize(
    ("algorithm", "digits"),
    [("sha512", 128), ("sha256", 64), ("sha1", 40), ("md5", 32), ("crc32", 8)],
)
def test_how_long_a_sum_is(algorithm: str, digits: int) -> None:
    assert Algorithm(algorithm).digits == digits


@pytest.mark.parametrize(
    ("features", "wanted", "method"),
    [
        (server("HASH SHA-1;SHA-256*;MD5"), None, Method(Algorithm.SHA256, "HASH", "SHA-256")),
        (server("HASH SHA-1*;SHA-256"), None, Method(Algorithm.SHA256, "HASH", "SHA-256")),
        (server("HASH SHA-1*", "XSHA512"), None, Method(Algorithm.SHA512, "XSHA512")),
        (server("HASH SHA-1*", "XMD5"), [Algorithm.MD5], Method(Algorithm.MD5, "XMD5")),
        (server("HASH CRC-32*", "XCRC"), None, Method(Algorithm.CRC32, "HASH", "CRC-32")),
        (server("XSHA"), None, Method(Algorithm.SHA1, "XSHA")),
        (server("XCRC", "XMD5"), [Algorithm.CRC32, Algorithm.MD5], Method(Algorithm.CRC32, "XCRC")),
        (server("XCRC"), [Algorithm.SHA256, Algorithm.MD5], None),
        (server("XCRC"), [], None),
        (Features(), None, None),
    ],
)
def test_the_best_in_common(
    features: Features, wanted: list[Algorithm] | None, method: Method | None
) -> None:
    assert (choose(features) if wanted is None else choose(features, wanted)) == method


def test_commands() -> None:
    by_hash = Method(Algorithm.SHA256, "HASH", "SHA-256")
    assert by_hash.ask(b'/a "b" c') == Command("HASH", b'/a "b" c')
    by_verb = Method(Algorithm.CRC32, "XCRC")
    assert by_verb.ask(b"/a") == Command("XCRC", b"/a")
    assert by_verb.ask(b"/a b") == Command("XCRC", b'"/a b"')
    assert by_verb.ask(b'/a"b') == Command("XCRC", b'/a"b')
    with pytest.raises(ValueError, match="quotes"):
        by_verb.ask(b'/a "b"')
    with pytest.raises(LocalProtocolError):
        by_verb.ask(b"/a\nDELE b")


@pytest.mark.parametrize(
    ("text", "start", "end", "name"),
    [
        (f"SHA-256 0-49 {SHA256} filename.ext", 0, 49, "filename.ext"),
        (f"sha-256 0-49 {SHA256.upper()} a b", 0, 49, "a b"),
        (f"SHA-256 10-20 {SHA256}", 10, 20, None),
        (f"SHA-256 {SHA256} name", None, None, "name"),
    ],
)
def test_hash_replies(text: str, start: int | None, end: int | None, name: str | None) -> None:
    assert parse_hash(text, Algorithm.SHA256) == Checksum(Algorithm.SHA256, SHA256, start, end, name)
    method = Method(Algorithm.SHA256, "HASH", "SHA-256")
    assert method.read(text, "filename.ext").hexadecimal == SHA256


@pytest.mark.parametrize(
    "text",
    [
        "",
        SHA256,
        f"SHA-1 0-49 {SHA1} name",
        f"MD5 0-49 {SHA256} name",
        f"SHA-256 0-49 {SHA256[:-1]} name",
        f"SHA-256 0-49 {SHA256}0 name",
        f"SHA-256 0- {SHA256} name",
        "SHA-256 0-49 name",
    ],
)
def test_hash_replies_that_are_none(text: str) -> None:
    with pytest.raises(PeerProtocolError):
        parse_hash(text, Algorithm.SHA256)


@pytest.mark.parametrize(
    ("algorithm", "text", "digits"),
    [
        (Algorithm.MD5, MD5.upper(), MD5),
        (Algorithm.MD5, f"/in/a.bin {MD5}", MD5),
        (Algorithm.MD5, f'"/in/a.bin" {MD5}', MD5),
        (Algorithm.MD5, f"{MD5} /in/a.bin", MD5),
        (Algorithm.MD5, f"XMD5 {MD5}.", MD5),
        (Algorithm.MD5, f"XMD5 = {MD5}\r", MD5),
        (Algorithm.MD5, f"MD5({MD5})", MD5),
        (Algorithm.MD5, f"Computing MD5 digest {MD5}", MD5),
        (Algorithm.SHA1, f"{SHA1}", SHA1),
        (Algorithm.SHA256, f"XSHA256 done. {SHA256.upper()}", SHA256),
        (Algorithm.CRC32, "414FA339", "414fa339"),
        (Algorithm.CRC32, "XCRC 0x414fa339 done", "414fa339"),
        (Algorithm.CRC32, '"/in/a.bin" 4FA339', "004fa339"),
        (Algorithm.CRC32, "0", "00000000"),
    ],
)
def test_replies_of_the_others(algorithm: Algorithm, text: str, digits: str) -> None:
    assert Method(algorithm, "X").read(text, "/in/a.bin") == Checksum(algorithm, digits)


def test_a_name_that_looks_like_a_sum_is_none() -> None:
    method = Method(Algorithm.CRC32, "XCRC")
    assert method.read("deadbeef 414FA339", "deadbeef").hexadecimal == "414fa339"
    assert method.read("414FA339 deadbeef", "deadbeef").hexadecimal == "414fa339"
    with pytest.raises(PeerProtocolError):
        method.read("deadbeef 414FA339", "other")


@pytest.mark.parametrize("text", ["", "OK", MD5[:-1], f"{MD5}{MD5}", f"{MD5} {MD5[::-1]}", f"x{MD5}"])
def test_replies_that_have_not_one_sum(text: str) -> None:
    with pytest.raises(PeerProtocolError):
        Method(Algorithm.MD5, "XMD5").read(text, "/in/a.bin")


@pytest.mark.parametrize(
    ("start", "end", "whole"),
    [(None, None, True), (0, 49, True), (0, 50, True), (0, 48, False), (0, 51, False), (1, 49, False)],
)
def test_a_sum_of_a_part_is_not_that_of_the_whole(start: int | None, end: int | None, *, whole: bool) -> None:
    found = Checksum(Algorithm.MD5, MD5, start, end)
    assert found.is_of("/a", 50) is whole
    assert found.is_of("/a", None) is (start in {None, 0})


@pytest.mark.parametrize(
    ("told", "of_it"),
    [
        (None, True),
        ("/in/a b", True),
        ("a b", True),
        ('"/in/a b"', True),
        ("/other/a b", True),
        ("b", False),
        ("a", False),
        ('"', False),
    ],
)
def test_a_sum_of_another_file_is_not_of_this_one(told: str | None, *, of_it: bool) -> None:
    assert Checksum(Algorithm.MD5, MD5, name=told).is_of("/in/a b", 50) is of_it


@given(st.sampled_from(Algorithm), st.text(max_size=200), st.text(max_size=20), st.booleans())
def test_no_reply_breaks_it(algorithm: Algorithm, text: str, path: str, by_hash: bool) -> None:  # noqa: FBT001 - drawn
    method = Method(algorithm, "HASH", "SHA-256") if by_hash else Method(algorithm, "XCRC")
    with contextlib.suppress(PeerProtocolError):
        assert len(method.read(text, path).hexadecimal) == algorithm.digits


def test_errors_are_short() -> None:
    for method in (Method(Algorithm.MD5, "HASH", "MD5"), Method(Algorithm.MD5, "XMD5")):
        with pytest.raises(PeerProtocolError) as caught:
            method.read("x" * 9000, "/a")
        assert len(str(caught.value)) < 300
