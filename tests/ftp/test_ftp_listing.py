"""LIST in its eight dialects: samples and what they say; Hypothesis: no bytes break it, no cut matters."""

import itertools
import json
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.errors import PeerProtocolError
from pooler.ftp.entries import MAX_LINE_BYTES, EntryKind, LineSplitter
from pooler.ftp.listing import dates
from pooler.ftp.listing.dates import month_number
from pooler.ftp.listing.parser import READERS, SAMPLE_LINES, Dialect, ListParser
from tests.support.listings import NOW, as_json, read

SAMPLES = sorted((Path(__file__).parent / "samples").glob("*.txt"))
LINES = [line for sample in SAMPLES for line in sample.read_bytes().splitlines(keepends=True)]


def charset_of(sample: Path) -> str:
    charset = sample.stem.rpartition("_")[2]
    return charset if charset.startswith("cp") else "utf-8"


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.stem)
def test_the_samples(sample: Path) -> None:
    expected = json.loads(sample.with_suffix(".json").read_text())
    data = sample.read_bytes()
    assert as_json(*read(data), charset_of(sample)) == expected
    assert as_json(*read(*(bytes([byte]) for byte in data)), charset_of(sample)) == expected
    assert as_json(*read(data.replace(b"\r\n", b"\n").removesuffix(b"\n")), charset_of(sample)) == expected


def test_there_is_a_sample_of_each_dialect() -> None:
    found = {json.loads(sample.with_suffix(".json").read_text())["dialect"] for sample in SAMPLES}
    assert found >= {dialect.value for dialect in Dialect}
    assert set(READERS) == set(Dialect)


@given(st.lists(st.one_of(st.sampled_from(LINES), st.binary(max_size=60)), max_size=90), st.data())
def test_no_bytes_break_it_and_no_cut_matters(lines: list[bytes], data: st.DataObject) -> None:
    listing = b"".join(lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(listing)), max_size=8)))
    pieces = [listing[begin:end] for begin, end in itertools.pairwise([0, *cuts, len(listing)])]
    whole, entries = read(listing)
    cut, cut_entries = read(*pieces)
    assert entries == cut_entries
    assert (whole.dialect, whole.unread, whole.first_unread) == (cut.dialect, cut.unread, cut.first_unread)
    for entry in entries:
        assert entry.name not in {b"", b".", b".."}
        assert b"\n" not in entry.name
        assert (entry.modified is None) == (entry.precision is None)
        assert entry.size_bytes is None or entry.size_bytes >= 0
        hash(entry)


@given(st.sampled_from(SAMPLES), st.integers(0, 2000), st.binary(min_size=1, max_size=3))
def test_a_spoilt_sample_breaks_nothing(sample: Path, at: int, spoilt: bytes) -> None:
    data = sample.read_bytes()
    read(data[:at] + spoilt + data[at + len(spoilt) :])


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(
    "line",
    [
        b" " * 16000 + b"x",
        b"-rw-r--r-- " + b"1 " * 8000,
        b"01-01-26  09:30" + b" " * 16000 + b"x",
        b"1 A " * 4000,
        b"A.B;1" + b" " * 16000 + b"x",
        b"^" * 16000,
        b"A 1 " + b" " * 8000 + b"*" * 8000,
        b"9" * 16000,
    ],
)
def test_no_line_takes_long(line: bytes, dialect: Dialect) -> None:
    began = time.process_time()
    parser = ListParser(NOW, dialect=dialect)
    parser.feed(line + b"\n")
    parser.finish()
    assert time.process_time() - began < 0.5


def test_lines_are_bounded() -> None:
    with pytest.raises(PeerProtocolError):
        read(b"x" * (MAX_LINE_BYTES + 1))
    with pytest.raises(PeerProtocolError):
        read(b"x\n" + b"x" * (MAX_LINE_BYTES + 1) + b"\n")
    assert read(b"x" * MAX_LINE_BYTES + b"\n")[0].unread == 1


@given(st.lists(st.binary(max_size=20), max_size=10))
def test_lines_in_any_pieces(pieces: list[bytes]) -> None:
    splitter = LineSplitter()
    lines = [line for piece in pieces for line in splitter.feed(piece)] + splitter.finish()
    whole = b"".join(pieces).split(b"\n")
    if not whole[-1]:
        whole.pop()
    assert lines == [line.removesuffix(b"\r") for line in whole]


def test_entries_come_before_the_listing_ends() -> None:
    parser = ListParser(NOW)
    line = b"-rw-r--r-- 1 a b 1 Nov 23 09:30 f%d\n"
    assert parser.feed(b"".join(line % number for number in range(SAMPLE_LINES - 1))) == []
    assert len(parser.feed(line % 999)) == SAMPLE_LINES
    assert [entry.name for entry in parser.feed(line % 1000)] == [b"f1000"]
    assert parser.finish() == []


def test_the_dialect_is_of_the_listing_not_of_the_line() -> None:
    unix = b"-rw-r--r-- 1 a b 1 Nov 23 09:30 f\n"
    parser, entries = read(b"A.TXT;1  5 23-NOV-2026 09:30\n", unix, unix)
    assert (parser.dialect, parser.unread, len(entries)) == (Dialect.UNIX, 1, 2)
    assert parser.first_unread == b"A.TXT;1  5 23-NOV-2026 09:30"


def test_a_known_dialect_is_not_looked_for() -> None:
    parser = ListParser(NOW, dialect=Dialect.MVS)
    parser.feed(b"-rw-r--r-- 1 a b 1 Nov 23 09:30 f\n")
    assert parser.finish() == []
    assert (parser.dialect, parser.unread) == (Dialect.MVS, 1)


def test_point_7_an_empty_listing_keeps_what_the_server_said() -> None:
    parser, entries = read(b"ls: /gone: No such file or directory\r\n")
    assert entries == []
    assert parser.first_unread == b"ls: /gone: No such file or directory"
    assert read()[0].first_unread is None


@pytest.mark.parametrize(
    "line",
    [
        b"-rw-r--r-- 1 a b 1 Nov 23 09:30 %s",
        b"11-23-26  09:30AM                    1 %s",
        b"+r,\t%s",
        b"         1      A    11-23-126   09:30  %s",
    ],
)
@pytest.mark.parametrize("name", [b" a", b"a ", b"  a  ", b" ", b"a -> b", b"a;1", b"\xff\xfe"])
def test_point_9_names_keep_their_spaces(line: bytes, name: bytes) -> None:
    (entry,) = read(line % name + b"\r\n")[1]
    assert entry.name == name


@pytest.mark.parametrize(
    ("now", "listed", "year"),
    [
        ("2026-11-23T12:00", b"Nov 23 12:00", 2026),
        ("2026-11-23T12:00", b"Nov 24 12:00", 2026),
        ("2026-11-23T12:00", b"Nov 24 12:01", 2025),
        ("2026-12-31T23:30", b"Jan  1 01:00", 2027),
        ("2027-01-01T00:10", b"Dec 31 23:59", 2026),
        ("2026-02-27T00:00", b"Feb 29 10:00", 2024),
        ("2104-02-27T00:00", b"Feb 29 10:00", 2096),
    ],
)
def test_point_20_the_year_is_at_most_a_day_ahead(now: str, listed: bytes, year: int) -> None:
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    (entry,) = read(b"-rw-r--r-- 1 a b 1 " + listed + b" f\n", now=moment)[1]
    assert entry.modified is not None
    assert entry.modified.year == year


def test_point_20_a_zone_makes_times_exact() -> None:
    line = b"-rw-r--r-- 1 a b 1 Nov 23 20:30 f\n"
    (entry,) = read(line, zone=ZoneInfo("Asia/Seoul"))[1]
    assert entry.modified == datetime(2026, 11, 23, 11, 30, tzinfo=UTC)
    (entry,) = read(line)[1]
    assert entry.modified == datetime(2026, 11, 23, 20, 30)  # noqa: DTZ001 - nobody told the zone


def test_point_20_a_year_is_left_out_by_the_clock_of_the_server() -> None:
    # It is the 25th already where the server is.
    now = datetime(2026, 11, 24, 13, 0, tzinfo=UTC)
    (entry,) = read(b"-rw-r--r-- 1 a b 1 Nov 26 01:00 f\n", zone=timezone(timedelta(hours=14)), now=now)[1]
    assert entry.modified is not None
    assert entry.modified.year == 2026


def test_a_time_without_a_zone_is_no_now() -> None:
    with pytest.raises(ValueError, match="zone"):
        ListParser(datetime(2026, 11, 23))  # noqa: DTZ001 - that is the point


@pytest.mark.parametrize("listed", [b"Feb 30 10:00", b"Nov 23 25:00", b"Nov 23  1800", b"Nov 99  2026"])
def test_a_time_that_is_none_leaves_the_entry(listed: bytes) -> None:
    (entry,) = read(b"-rw-r--r-- 1 a b 1 " + listed + b" f\n")[1]
    assert (entry.name, entry.modified, entry.precision) == (b"f", None, None)


def test_point_21_sizes_in_blocks_or_records_are_no_sizes() -> None:
    for dialect in ("vms", "mvs_datasets", "mvs_members"):
        sample = next(sample for sample in SAMPLES if sample.stem == dialect)
        assert all(entry.size_bytes is None for entry in read(sample.read_bytes())[1])


@pytest.mark.parametrize(
    ("dialect", "line"),
    [
        (Dialect.UNIX, b"-rw-r--r-- 1 a b 1 Nov 23 09:30 "),
        (Dialect.UNIX, b"-rw-r--r-- 1 a b 1 Nov 23 09:30"),
        (Dialect.UNIX, b"-rw-r--r-- 1 a b 1 Nov 23"),
        (Dialect.UNIX, b"-rw-r--r-- 1 a b 1 23 09:30 f"),
        (Dialect.UNIX, b"-rw-r--r-- 1 a b 1"),
        (Dialect.DOS, b"11-23-26  09:30AM       <DIR>          "),
        (Dialect.DOS, b"11-23--26  09:30AM      1 f"),
        (Dialect.EPLF, b"+r,s1 f"),
        (Dialect.EPLF, b"+r,s1,\t"),
        (Dialect.VMS, b"A.TXT;1   5  23-FOO-2026 09:30"),
        (Dialect.VMS, b"  5  23-NOV-2026 09:30"),
        (Dialect.NETWARE, b"- [R----F--] anna 1 Nov 23 09:30    "),
        (Dialect.NETWARE, b"- [R----F--] anna"),
        (Dialect.OS400, b"ANNA  1 11/23/26 09:30:12 *STMF     "),
        (Dialect.OS400, b"ANNA  1 11/23/26 09:30:12 STMF   f"),
        (Dialect.MVS, b"WRK001 3390   2026/11/23  1    5  FB      80 27920  PO"),
        (Dialect.OS2, b"   1      A    11-23-126   09:30  "),
    ],
)
def test_lines_that_are_no_entries(dialect: Dialect, line: bytes) -> None:
    parser = ListParser(NOW, dialect=dialect)
    parser.feed(line + b"\r\n")
    assert parser.finish() == []
    assert (parser.unread, parser.first_unread) == (1, line)


def test_an_error_may_stand_where_vms_goes_on() -> None:
    parser, entries = read(b"LONG.TXT;1\r\n  no columns\r\nB.TXT;1 5 23-NOV-2026 09:30\r\n")
    assert [(entry.name, entry.modified is None) for entry in entries] == [
        (b"LONG.TXT", True),
        (b"B.TXT", False),
    ]
    assert parser.dialect is Dialect.VMS


@pytest.mark.parametrize("zone", [None, ZoneInfo("Asia/Seoul")])
def test_full_dates_bring_their_own_zone(zone: ZoneInfo | None) -> None:
    (entry,) = read(b"-rw-r--r-- 1 a b 1 2026-11-23 09:30:12.000000000 -0530 f\n", zone=zone)[1]
    assert entry.modified == datetime(2026, 11, 23, 15, 0, 12, tzinfo=UTC)


def test_full_dates_that_are_none() -> None:
    (entry,) = read(b"-rw-r--r-- 1 a b 1 2026-02-30 09:30:12.000000000 +0900 f\n")[1]
    assert (entry.name, entry.modified) == (b"f", None)


def test_months_do_not_contradict_each_other() -> None:
    numbers: dict[str, int] = {}
    for line in dates._MONTHS:
        names = line.split()
        assert len(names) == 12
        for number, spellings in enumerate(names, start=1):
            for spelling in spellings.split("/"):
                assert numbers.setdefault(spelling, number) == number
    for name, number in numbers.items():
        assert month_number(name.encode()) == number


@pytest.mark.parametrize(
    ("word", "number"),
    [
        (b"Nov", 11),
        (b"NOV", 11),
        ("11월".encode("cp949"), 11),
        ("11月".encode("cp932"), 11),
        ("1月".encode("gbk"), 1),
        ("Mär".encode("latin-1"), 3),
        ("août".encode("cp1252"), 8),
        ("Янв".encode("cp1251"), 1),
        ("окт".encode("koi8-r"), 10),
        ("Şub".encode("cp1254"), 2),
        (b"Foo", None),
        (b"", None),
    ],
)
def test_months(word: bytes, number: int | None) -> None:
    assert month_number(word) == number


def test_a_link_with_arrows_is_parted_by_its_size() -> None:
    (entry,) = read(b"lrwxrwxrwx 1 a b 4 Nov 23 09:30 a -> b -> c\n")[1]
    # No target of four bytes stands behind an arrow: the first one parts.
    assert (entry.name, entry.target, entry.kind) == (b"a", b"b -> c", EntryKind.LINK)
    (entry,) = read(b"lrwxrwxrwx 1 a b 1 Nov 23 09:30 a -> b -> c\n")[1]
    assert (entry.name, entry.target) == (b"a -> b", b"c")
    (entry,) = read(b"lrwxrwxrwx 1 a b 1 Nov 23 09:30 a\n")[1]
    assert (entry.name, entry.target) == (b"a", None)
