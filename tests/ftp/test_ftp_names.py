"""Names: any bytes come back, forms, lengths; and rclone's encoding, flag by flag."""

import codecs
import functools
import operator
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.ftp.encoding import RAW, STANDARD, Encoding, Flag, parse_encoding
from pooler.ftp.names import NAME_MAX_BYTES, Form, NameCodec, check_charset, decode, encode, other_form

CHARSETS = ["utf-8", "cp949", "euc-kr", "cp932", "shift_jis", "euc-jp", "gbk", "gb18030", "big5", "big5hkscs"]
CHARSETS += ["latin-1", "cp1251", "cp1252", "koi8-r", "cp866", "ascii", "johab", "euc_jisx0213"]


@pytest.mark.parametrize("charset", CHARSETS)
@given(raw=st.one_of(st.binary(max_size=60), st.lists(st.integers(0x80, 0xFF), max_size=30).map(bytes)))
def test_any_bytes_come_back(charset: str, raw: bytes) -> None:
    assert encode(decode(raw, charset), charset) == raw


@pytest.mark.parametrize("charset", CHARSETS)
def test_each_code_of_two_bytes_comes_back(charset: str) -> None:
    for first in range(0x80, 0x100):
        for second in range(1, 0x100):
            raw = bytes([first, second])
            assert encode(decode(raw, charset), charset) == raw


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("utf-8", "보고서 é 😀"),
        ("cp949", "보고서 똠방각하"),
        ("cp932", "ソース 表 ①"),
        ("gbk", "报告"),
        ("latin-1", "café"),
        ("cp1251", "отчёт"),
    ],
)
def test_text_of_a_charset(charset: str, text: str) -> None:
    raw = encode(text, charset)
    assert raw == text.encode(charset)
    assert decode(raw, charset) == text


def test_of_a_character_with_two_codes_the_other_one_is_kept_as_bytes() -> None:
    # NEC's code and IBM's for one kanji.
    assert decode(b"\xed\x40\x83\x5c", "cp932") == "纊ソ"
    assert decode(b"\xfa\x5c\x83\x5c", "cp932") == "\udcfa\\ソ"


def test_characters_that_a_charset_lacks() -> None:
    with pytest.raises(ValueError, match="lacks"):
        encode("é", "cp949")
    with pytest.raises(ValueError, match="lacks"):
        encode("\ud800", "utf-8")


@pytest.mark.parametrize(
    "charset",
    ["utf-7", "utf-16", "utf-8-sig", "iso2022_jp", "hz", "cp037", "rot13", "base64", "no such", "", "a\0b"],
)
def test_charsets_that_are_none_for_names(charset: str) -> None:
    with pytest.raises(ValueError, match="charset"):
        check_charset(charset)
    with pytest.raises(ValueError, match="charset"):
        NameCodec(charset)


def test_charsets_have_one_name() -> None:
    assert check_charset("UTF8") == check_charset("utf_8") == codecs.lookup("utf-8").name


def test_forms() -> None:
    composed, decomposed = "각é", unicodedata.normalize("NFD", "각é")
    assert Form.KEEP.apply(composed) == composed
    assert Form.KEEP.apply(decomposed) == decomposed
    assert Form.NFC.apply(decomposed) == composed
    assert Form.NFD.apply(composed) == decomposed
    assert other_form(composed) == decomposed
    assert other_form(decomposed) == composed
    assert other_form(composed + decomposed) == composed * 2
    assert other_form("plain") is None
    assert other_form("表") is None


def test_only_names_that_we_create_are_put_into_a_form() -> None:
    codec = NameCodec(form=Form.NFD)
    assert codec.to_wire("/é") == b"/\xc3\xa9"
    assert codec.to_wire("/é", creating=True) == b"/e\xcc\x81"
    assert codec.other_form("/é") == b"/e\xcc\x81"
    assert codec.other_form("/e") is None
    # In this charset there is no other form.
    assert NameCodec("cp949").other_form("/각") is None


@given(st.binary(max_size=60))
def test_a_path_comes_back_from_the_wire(raw: bytes) -> None:
    codec = NameCodec("cp949")
    assert codec.to_wire(codec.from_wire(raw)) == raw


@given(
    st.text(max_size=300),
    st.sampled_from(["utf-8", "cp949", "cp932", "gbk", "gb18030", "big5hkscs", "cp1251", "latin-1"]),
    st.integers(12, NAME_MAX_BYTES),
)
def test_a_temporary_name_fits(stem: str, charset: str, limit_bytes: int) -> None:
    try:
        raw = encode(stem, charset)
    except ValueError:
        return
    name = NameCodec(charset).fit(stem, before=".", after=".a1b2.part", limit_bytes=limit_bytes)
    kept = name[1 : -len(".a1b2.part")]
    assert name == f".{kept}.a1b2.part"
    assert stem.startswith(kept)
    assert len(encode(name, charset)) <= limit_bytes
    if len(raw) + 11 <= limit_bytes:
        assert kept == stem


def test_a_temporary_name_is_as_long_as_may_be_and_cuts_no_character() -> None:
    assert NameCodec("utf-8").fit("보" * 100, after=".part") == "보" * 83 + ".part"
    assert NameCodec("cp949").fit("보" * 200, after=".part") == "보" * 125 + ".part"
    assert NameCodec("utf-8").fit("e\u0301" * 3, limit_bytes=4) == "e\u0301"
    with pytest.raises(ValueError, match="bytes"):
        NameCodec("utf-8").fit("a", after="x" * 256)
    with pytest.raises(ValueError, match="lacks"):
        NameCodec("ascii").fit("é" * 300)


# Encoding

ALL = [flag for flag in Flag if flag is not Flag.RAW]
NASTY = "./ ~\t\n\r\v\0\x01\x1f\x7f<>\"'`$:?*|#%\\[];!\u201b\uff0e\uff0f\uff5e\u2400\u2401\u2409"
NASTY += "\u240a\u240d\u2420\u2421\uff0a\uff1aAF0a\udc80\udcff"
FLAGS = st.lists(st.sampled_from(ALL)).map(lambda flags: functools.reduce(operator.or_, flags, Flag.NONE))
NAMES = st.one_of(st.text(alphabet=NASTY, max_size=6), st.text(max_size=12))


@given(FLAGS, NAMES)
def test_an_encoded_name_comes_back(flags: Flag, name: str) -> None:
    encoding = Encoding(flags)
    assert encoding.decode(encoding.encode(name)) == name


@given(FLAGS, st.lists(NAMES, max_size=4))
def test_a_standard_path_comes_back(flags: Flag, names: list[str]) -> None:
    path = "/".join(map(STANDARD.encode, names))
    encoding = Encoding(flags | Flag.SLASH)
    there = encoding.from_standard(path)
    assert there.count("/") == path.count("/")
    assert encoding.to_standard(there) == path


@given(FLAGS, NAMES)
def test_no_name_of_a_remote_breaks_it(flags: Flag, name: str) -> None:
    encoding = Encoding(flags)
    if "/" not in name:
        assert "/" not in encoding.to_standard(name)
    encoding.decode(name)


@pytest.mark.parametrize(
    ("option", "name", "there"),
    [
        ("None", "a/b", "a/b"),
        ("None", "\0", "\u2400"),
        ("None", "\u2400", "\u201b\u2400"),
        ("None", "\u201b", "\u201b\u201b"),
        ("Raw", "\0\u201b", "\0\u201b"),
        ("Slash", "a/b", "a\uff0fb"),
        ("Slash", "a\uff0fb", "a\u201b\uff0fb"),
        ("Asterisk", "a*b", "a\uff0ab"),
        ("LtGt,Pipe", "<|>", "\uff1c\uff5c\uff1e"),
        ("Ctl", "a\tb", "a\u2409b"),
        ("Ctl", "a\u2409b", "a\u201b\u2409b"),
        ("Del", "\x7f", "\u2421"),
        ("CrLf", "a\r\nb\t", "a\u240d\u240ab\t"),
        ("RightSpace", " a  ", " a \u2420"),
        ("RightSpace", "a\u2420", "a\u201b\u2420"),
        ("RightSpace", "\u2420a", "\u2420a"),
        ("LeftSpace", "  a ", "\u2420 a "),
        ("LeftSpace,RightSpace", " ", "\u2420"),
        ("LeftSpace,RightSpace", "  ", "\u2420\u2420"),
        ("LeftPeriod", "..a", "\uff0e.a"),
        ("LeftTilde", "~~", "\uff5e~"),
        ("RightPeriod", "a..", "a.\uff0e"),
        ("RightCrLfHtVt", "a\t\t", "a\t\u2409"),
        ("LeftCrLfHtVt", "\n\na", "\u240a\na"),
        ("Dot", ".", "\uff0e"),
        ("Dot", "..", "\uff0e\uff0e"),
        ("Dot", "...", "..."),
        ("Dot", "\uff0e", "\u201b\uff0e"),
        ("Dot", "\uff0e\uff0e", "\u201b\uff0e\u201b\uff0e"),
        ("Dot", "a\uff0e", "a\uff0e"),
        ("InvalidUtf8", "a\udcbfb", "a\u201bBFb"),
        ("InvalidUtf8", "a\u201bBFb", "a\u201b\u201bBFb"),
        ("None", "a\udcbfb", "a\udcbfb"),
        ("Dot,RightPeriod", "\uff0e.", "\u201b\uff0e\uff0e"),
        ("Dot,LeftPeriod", ".\uff0e", "\uff0e\u201b\uff0e"),
        ("SquareBracket,Semicolon,Exclamation", "[;!]", "\uff3b\uff1b\uff01\uff3d"),
        ("Slash,Del,Ctl,RightSpace,Dot", "a b ", "a b\u2420"),
        ("Slash", "", ""),
    ],
)
def test_encodings(option: str, name: str, there: str) -> None:
    encoding = parse_encoding(option)
    assert encoding.encode(name) == there
    assert encoding.decode(there) == name


def test_paths_in_the_standard_encoding() -> None:
    encoding = parse_encoding("Slash,Del,Ctl,RightSpace,Dot")
    assert encoding.from_standard("/a /b") == "/a\u2420/b"
    assert encoding.from_standard("/a\u240ab") == "/a\u240ab"
    assert parse_encoding("None").from_standard("/a\u240ab") == "/a\nb"
    assert STANDARD.from_standard("/a\u240ab") == RAW.to_standard("/a\u240ab") == "/a\u240ab"


def test_an_escaped_byte_is_never_text() -> None:
    # Nobody leaves a folder by a name that a remote made up.
    for name in ("a\u201b2Fb", "a\u201bxyb", "a\u201bF"):
        assert parse_encoding("InvalidUtf8").decode(name) == name


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("None", "None"),
        ("0", "None"),
        (" Slash , Dot ", "Slash,Dot"),
        ("0x2", "Slash"),
        ("LeftCrLfHtVt,LtGt", "LtGt,LeftCrLfHtVt"),
        ("Raw", "Raw"),
    ],
)
def test_options(text: str, shown: str) -> None:
    encoding = parse_encoding(text)
    assert str(encoding) == shown
    assert encoding == parse_encoding(shown)
    assert hash(encoding) == hash(parse_encoding(shown))
    assert repr(encoding) == f"<Encoding {shown}>"


@pytest.mark.parametrize("text", ["", "slash", "Slash,", "Foo", "-1", "0x80000000", "Slash Dot"])
def test_options_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="possible values"):
        parse_encoding(text)
