import contextlib
import encodings.aliases
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.config.dialect import (
    ENCODING_FLAGS,
    RAW_ENCODING,
    commands,
    encoding,
    path_style,
    timezone,
    transfer_type,
    unicode_form,
)
from pooler.config.values import charset
from pooler.ftp.encoding import RAW, parse_encoding
from pooler.ftp.names import check_charset
from pooler.ftp.profile import Profile


def taken(reader: Callable[[str], object], text: str) -> bool:
    try:
        reader(text)
    except ValueError:
        return False
    return True


numbers = st.integers(-4, 1 << 31)
flags = st.sampled_from([*ENCODING_FLAGS, "raw", "Slash ", "", "Dots"]) | numbers.map(str) | numbers.map(hex)


@given(st.lists(flags, min_size=1).map(",".join) | st.text())
def test_encodings_are_those_of_the_client(text: str) -> None:
    assert taken(encoding, text) is taken(parse_encoding, text)


@pytest.mark.parametrize("bit", range(1, len(ENCODING_FLAGS)))
def test_a_number_stands_for_the_flag_of_that_bit(bit: int) -> None:
    flag = ENCODING_FLAGS[bit]
    assert encoding(flag) == flag
    assert parse_encoding(flag) == parse_encoding(str(1 << (bit - 1)))


def test_there_are_no_other_flags() -> None:
    assert not taken(encoding, str(1 << (len(ENCODING_FLAGS) - 1)))
    assert str(parse_encoding(",".join(ENCODING_FLAGS[1:]))) == ",".join(ENCODING_FLAGS[1:])
    assert parse_encoding(RAW_ENCODING) == RAW


@pytest.mark.parametrize(
    "name", sorted({*encodings.aliases.aliases.values(), "idna", "undefined", "nonsense"})
)
def test_charsets_are_those_of_the_client(name: str) -> None:
    assert taken(charset, name) is taken(check_charset, name)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("SITE UMASK 002", ("SITE UMASK 002",)),
        (" site a ;\tOPTS x=1;; NOOP;", ("site a", "OPTS x=1", "NOOP")),
        (";", ()),
    ],
)
def test_commands(text: str, lines: tuple[str, ...]) -> None:
    assert commands(text) == lines


@given(st.text() | st.lists(st.sampled_from(["NOOP", "SITE x", "STOR y", "\u212aILL", "a b"])).map(";".join))
def test_commands_that_are_taken_can_be_sent(text: str) -> None:
    if taken(commands, text):  # a profile refuses what is no command
        Profile("h", "u", str, after_login=commands(text))


@pytest.mark.parametrize("name", ["UTC", "Asia/Seoul", "America/New_York"])
def test_time_zones(name: str) -> None:
    assert str(timezone(name)) == name


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "America", "/etc/passwd", "../UTC", "a\0b", "x" * 5000])
def test_no_time_zones(name: str) -> None:
    with pytest.raises(ValueError, match="expected the IANA name of a time zone"):
        timezone(name)


def test_a_time_zone_that_is_a_folder_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def folder(_: str) -> None:  # as the package tzdata answers on some versions of Python
        raise IsADirectoryError

    monkeypatch.setattr("zoneinfo.ZoneInfo", folder)
    with pytest.raises(ValueError, match="expected the IANA name of a time zone"):
        timezone("America")


@pytest.mark.parametrize("reader", [encoding, commands, timezone, unicode_form, path_style, transfer_type])
@given(text=st.text())
def test_any_text_is_read_or_refused(reader: Callable[[str], object], text: str) -> None:
    with contextlib.suppress(ValueError):
        reader(text)
