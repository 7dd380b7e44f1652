"""MLST and MLSD: RFC 3659's own forms, what servers make of them, and Hypothesis."""

import contextlib
import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.errors import PeerProtocolError
from pooler.ftp.entries import MAX_LINE_BYTES, Entry, EntryKind
from pooler.ftp.facts import MAX_FACTS, FactsParser, parse_facts, parse_mlst


def test_a_file_with_everything() -> None:
    entry = parse_facts(
        b"Type=file;Size=17709;Modify=20261123093000.25;Perm=adfrw;Unique=800U4;UNIX.mode=0644; a;b"
    )
    assert (entry.name, entry.kind, entry.size_bytes) == (b"a;b", EntryKind.FILE, 17709)
    assert entry.modified == datetime(2026, 11, 23, 9, 30, 0, 250000, tzinfo=UTC)
    assert entry.precision == timedelta(microseconds=1)
    assert (entry.unique, entry.perm, entry.target) == ("800U4", "adfrw", None)
    assert entry.facts["unix.mode"] == "0644"
    assert entry.facts["type"] == "file"


@pytest.mark.parametrize(
    ("line", "kind", "target"),
    [
        (b"type=dir; a", EntryKind.FOLDER, None),
        (b"TYPE=DIR; a", EntryKind.FOLDER, None),
        (b"type=cdir; a", EntryKind.FOLDER, None),
        (b"type=pdir; a", EntryKind.FOLDER, None),
        (b"type=OS.unix=slink:/b c; a", EntryKind.LINK, b"/b c"),
        (b"type=OS.unix=symlink; a", EntryKind.LINK, None),
        (b"type=OS.unix=slink:; a", EntryKind.LINK, None),
        (b"type=OS.unix=chr-13/29; a", EntryKind.OTHER, None),
        (b"size=5; a", EntryKind.OTHER, None),
        (b" a", EntryKind.OTHER, None),
        (b"type=file;size=5 a", EntryKind.FILE, None),
    ],
)
def test_kinds(line: bytes, kind: EntryKind, target: bytes | None) -> None:
    entry = parse_facts(line)
    assert (entry.name, entry.kind, entry.target) == (b"a", kind, target)


@pytest.mark.parametrize("name", [b" a", b"a ", b"  ", b"a=b; c", b"x;y=z; w", b"\xff", b"type=file; a"])
def test_point_9_names_keep_their_spaces(name: bytes) -> None:
    assert parse_facts(b"type=file;size=1; " + name).name == name


@pytest.mark.parametrize(
    "fact", [b"size=-1", b"size=", b"size=1e3", b"size=" + b"9" * 30, b"modify=2026", b"modify="]
)
def test_facts_that_make_no_sense_are_not_told(fact: bytes) -> None:
    entry = parse_facts(b"type=file;" + fact + b"; a")
    assert (entry.name, entry.size_bytes, entry.modified, entry.precision) == (b"a", None, None, None)


@pytest.mark.parametrize(
    "line", [b"", b" ", b"a", b"type=file;", b"type=file; ", b"type=file;a", b"total 42", b"junk;size=1 a"]
)
def test_what_is_no_line_of_facts(line: bytes) -> None:
    with pytest.raises(PeerProtocolError):
        parse_facts(line)


def test_facts_are_bounded() -> None:
    assert len(parse_facts(b"".join(b"f%d=1;" % n for n in range(MAX_FACTS)) + b" a").facts) == MAX_FACTS
    with pytest.raises(PeerProtocolError):
        parse_facts(b"f=1;" * (MAX_FACTS + 1) + b" a")
    with pytest.raises(PeerProtocolError):
        FactsParser().feed(b"x" * (MAX_LINE_BYTES + 1))


@pytest.mark.parametrize(
    "lines",
    [
        (b"Listing /a", b" type=file;size=3; /a", b"End"),
        (b"Listing /a", b"type=file;size=3; /a", b"End"),
        (b"Start", b"", b"  type=file;size=3; /a", b"End"),
        (b"type=file;size=3; /a",),
        (b" type=file;size=3; /a",),
    ],
)
def test_mlst(lines: tuple[bytes, ...]) -> None:
    entry = parse_mlst(lines)
    assert (entry.name, entry.size_bytes) == (b"/a", 3)


@pytest.mark.parametrize("lines", [(), (b"OK",), (b"Listing", b"End"), (b"a=b; c", b"nothing", b"d=e; f")])
def test_mlst_without_facts(lines: tuple[bytes, ...]) -> None:
    with pytest.raises(PeerProtocolError):
        parse_mlst(lines)


def parse(*pieces: bytes) -> list[Entry]:
    parser = FactsParser()
    return [entry for piece in pieces for entry in parser.feed(piece)] + parser.finish()


LISTING = (
    b"type=cdir;modify=20261123093000; .\r\n"
    b"type=pdir;modify=20261123093000; /\r\n"
    b"type=dir; .\r\n"
    b"type=dir; ..\r\n"
    b"type=file;size=1;  spaces \r\n"
    b"\r\n"
    b"type=dir; folder\n"
    b"type=file;size=2; last"
)


def test_a_listing_in_any_pieces() -> None:
    names = [b" spaces ", b"folder", b"last"]
    assert [entry.name for entry in parse(LISTING)] == names
    for cut in range(len(LISTING)):
        assert [entry.name for entry in parse(LISTING[:cut], LISTING[cut:])] == names


def test_point_8_a_listing_that_is_none_is_an_error() -> None:
    with pytest.raises(PeerProtocolError):
        parse(b"-rw-r--r-- 1 a b 1 Nov 23 09:30 f\r\n")


@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(st.sampled_from([b"type=", b"file", b";", b" ", b"=", b"a"])).map(b"".join),
    )
)
def test_no_line_breaks_it(line: bytes) -> None:
    with contextlib.suppress(PeerProtocolError):
        entry = parse_facts(line)
        assert line.endswith(b" " + entry.name)
        assert entry.name


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6))
def test_no_cut_matters(data: bytes, cuts: list[int]) -> None:
    def outcome(pieces: list[bytes]) -> list[Entry] | None:
        try:
            return parse(*pieces)
        except PeerProtocolError:
            return None

    pieces = [data[begin:end] for begin, end in itertools.pairwise([0, *sorted(cuts), len(data)])]
    assert outcome(pieces if b"".join(pieces) == data else [data]) == outcome([data])


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_no_reply_breaks_mlst(lines: list[bytes]) -> None:
    with contextlib.suppress(PeerProtocolError):
        assert parse_mlst(lines).name


def test_errors_are_short() -> None:
    with pytest.raises(PeerProtocolError) as caught:
        parse_mlst([b"x" * 9000])
    assert len(str(caught.value)) < 300
    with pytest.raises(PeerProtocolError) as caught:
        parse_facts(b"x" * 9000)
    assert len(str(caught.value)) < 300
