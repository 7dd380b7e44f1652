"""Replies and commands, by table and Hypothesis: no cut of the bytes may matter, nothing is unbounded."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.errors import LocalProtocolError, PeerProtocolError
from pooler.ftp.wire import MAX_LINE_BYTES, MAX_REPLY_BYTES, MAX_REPLY_LINES, Command, Reply, ReplyParser


def parse(*pieces: bytes) -> list[Reply]:
    parser = ReplyParser()
    replies = []
    for piece in pieces:
        parser.feed(piece)
        while (reply := parser.next_reply()) is not None:
            replies.append(reply)
    return replies


@pytest.mark.parametrize(
    ("data", "replies"),
    [
        (b"226 Done.\r\n", [(226, (b"Done.",))]),
        (b"226 Done.\n", [(226, (b"Done.",))]),
        (b"226\r\n", [(226, (b"",))]),
        (b"226 \r\n", [(226, (b"",))]),
        (b"200  two  spaces \r\n", [(200, (b" two  spaces ",))]),
        (b"150 a\r\n226 b\r\n", [(150, (b"a",)), (226, (b"b",))]),
        (b"211-a\r\n b\r\n211 c\r\n", [(211, (b"a", b" b", b"c"))]),
        (b"211-a\r\n211-b\r\n211 c\r\n", [(211, (b"a", b"b", b"c"))]),
        (b"211-a\r\n211\r\n", [(211, (b"a", b""))]),
        (b"211-a\r\n\r\n211 c\r\n", [(211, (b"a", b"", b"c"))]),
        # RFC 959 §4.2: lines within may begin with digits, only the same code and a space is the end.
        (
            b"211-a\r\n123 b\r\n123-b\r\n2111 b\r\n211 c\r\n",
            [(211, (b"a", b"123 b", b"123-b", b"2111 b", b"c"))],
        ),
        (b"200 a\xff\xfd\x01b\xff\xf4c\r\n", [(200, (b"abc",))]),
        (b"200 a\xff\xffb\xff.\r\n", [(200, (b"a\xffb\xff.",))]),
        (b"200 \xff\xff\xfdb\r\n", [(200, (b"\xff\xfdb",))]),
        (b"553-a\r\n150 b\r\n", []),
    ],
)
def test_replies(data: bytes, replies: list[tuple[int, tuple[bytes, ...]]]) -> None:
    expected = [Reply(code, lines) for code, lines in replies]
    assert parse(data) == expected
    assert parse(*(bytes([byte]) for byte in data)) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"hello\r\n",
        b"22 no\r\n",
        b"2266 no\r\n",
        b"226:no\r\n",
        b"600 no\r\n",
        b"026 no\r\n",
        b" 226 no\r\n",
    ],
)
def test_what_is_no_reply(data: bytes) -> None:
    with pytest.raises(PeerProtocolError):
        parse(data)


def test_a_line_of_another_code_is_the_end_once_nothing_follows() -> None:
    parser = ReplyParser()
    parser.feed(b"553-full\r\n150 really\r\n")
    assert parser.next_reply() is None
    assert parser.in_doubt
    assert parser.settle() == Reply(553, (b"full", b"150 really"), malformed=True)
    assert parser.empty
    parser.feed(b"200 next\r\n")
    assert parser.next_reply() == Reply(200, (b"next",))


@pytest.mark.parametrize("after", [b"more\r\n", b"2", b"553-again\r\n", b"150-open\r\n"])
def test_there_is_no_doubt_while_something_follows(after: bytes) -> None:
    parser = ReplyParser()
    parser.feed(b"553-full\r\n150 really\r\n" + after)
    assert parser.next_reply() is None
    assert not parser.in_doubt
    with pytest.raises(LocalProtocolError):
        parser.settle()
    parser.feed(b"\r\n553 end\r\n")
    reply = parser.next_reply()
    assert reply is not None
    assert not reply.malformed


def test_a_server_that_says_both_yes_and_no_has_said_no() -> None:
    parser = ReplyParser()
    parser.feed(b"150-go\r\n553 full\r\n")
    assert parser.next_reply() is None
    assert parser.settle().code == 553


def test_point_19_lines_and_replies_have_an_end() -> None:
    assert parse(b"200 " + b"a" * (MAX_LINE_BYTES - 5) + b"\r\n")
    for data in (
        b"a" * (MAX_LINE_BYTES + 1),
        b"200 " + b"a" * MAX_LINE_BYTES + b"\r\n",
        b"200-\r\n" + b"\r\n" * (MAX_REPLY_LINES + 1),
        b"200-\r\n" + (b"a" * 8000 + b"\r\n") * (MAX_REPLY_BYTES // 8000 + 1),
    ):
        with pytest.raises(PeerProtocolError):
            parse(*(data[i : i + 1000] for i in range(0, len(data), 1000)))


def test_a_hundred_megabytes_without_a_line_end_are_not_kept() -> None:
    parser = ReplyParser()
    fed = 0
    chunk = b"1" * 4096

    def feed_all() -> None:
        nonlocal fed
        for _ in range(100_000_000 // len(chunk)):
            fed += len(chunk)
            parser.feed(chunk)
            parser.next_reply()

    with pytest.raises(PeerProtocolError):
        feed_all()
    assert fed <= MAX_LINE_BYTES + 2 * len(chunk)


def test_clear_forgets_lines_and_half_lines() -> None:
    parser = ReplyParser()
    parser.feed(b"211-a\r\n b\r\nhalf")
    assert parser.next_reply() is None
    parser.clear()
    assert parser.empty
    parser.feed(b"200 fresh\r\n")
    assert parser.next_reply() == Reply(200, (b"fresh",))


lines = st.lists(
    st.sampled_from(
        [
            b"226 Done.",
            b"211-Features",
            b" SIZE",
            b"211 End",
            b"150 go",
            b"123 x",
            b"211-x",
            b"",
            b"\xff\xfd\x01",
            b"211",
        ]
    ),
    max_size=12,
)


def outcome(*pieces: bytes) -> tuple[list[Reply], bool, bool]:
    parser = ReplyParser()
    replies: list[Reply] = []
    try:
        for piece in pieces:
            parser.feed(piece)
            while (reply := parser.next_reply()) is not None:
                replies.append(reply)
    except PeerProtocolError:
        return replies, True, False
    return replies, False, parser.in_doubt


@given(lines, st.lists(st.integers(0, 200)))
def test_any_cut_of_lines_gives_the_same(text: list[bytes], cuts: list[int]) -> None:
    data = b"".join(line + b"\r\n" for line in text)
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]
    assert outcome(*pieces) == outcome(data)


@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_cut_of_any_bytes_gives_the_same(data: bytes, size: int) -> None:
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    assert outcome(*pieces) == outcome(data)


@given(st.lists(st.binary(max_size=3000), max_size=60))
def test_what_is_held_is_bounded(pieces: list[bytes]) -> None:
    parser = ReplyParser()
    for piece in pieces:
        parser.feed(piece)
        try:
            while parser.next_reply() is not None:
                pass
        except PeerProtocolError:
            return
        assert len(parser._buffer) <= MAX_LINE_BYTES + len(piece)
        assert sum(map(len, parser._lines)) <= MAX_REPLY_BYTES


def test_text_for_people_is_text_whatever_came() -> None:
    reply = Reply(550, (b"a \xb0\xa1: ", b" No such file"))
    assert str(reply) == "550 a \\xb0\\xa1: No such file"
    assert reply.text("cp949") == "a 가: No such file"
    assert str(Reply(226, (b"",))) == "226"


@pytest.mark.parametrize(
    ("code", "kind", "refused"),
    [(150, 1, False), (226, 2, False), (350, 3, False), (450, 4, True), (550, 5, True)],
)
def test_kinds_of_replies(code: int, kind: int, refused: bool) -> None:  # noqa: FBT001 - a column of the table
    assert Reply(code, ()).kind == kind
    assert Reply(code, ()).refused is refused


@pytest.mark.parametrize(
    ("command", "data", "shown"),
    [
        (Command("NOOP"), b"NOOP\r\n", "NOOP"),
        (Command("STOR", b"/a"), b"STOR /a\r\n", "STOR /a"),
        (Command("STOR", b" a  b "), b"STOR  a  b \r\n", "STOR  a  b "),
        (Command("SIZE", b"\xff\xfe"), b"SIZE \xff\xfe\r\n", "SIZE \\xff\\xfe"),
        (Command("PASS", b"x y"), b"PASS x y\r\n", "PASS ****"),
        (Command("ACCT", b"x y"), b"ACCT x y\r\n", "ACCT ****"),
        (Command("XSHA256", b"/a"), b"XSHA256 /a\r\n", "XSHA256 /a"),
    ],
)
def test_commands(command: Command, data: bytes, shown: str) -> None:
    assert command.encode() == data
    assert str(command) == shown
    assert shown in repr(command).replace("\\\\", "\\")


def test_point_9_iac_is_doubled_only_where_asked_for() -> None:
    assert Command("SIZE", b"a\xffb").encode(double_iac=True) == b"SIZE a\xff\xffb\r\n"


@pytest.mark.parametrize("verb", ["", "noop", "NO OP", "N", "NOOP\r\n", "ÄÖÜ"])
def test_verbs_are_letters(verb: str) -> None:
    with pytest.raises(LocalProtocolError):
        Command(verb)


@given(st.binary(max_size=50))
def test_a_command_is_one_line_or_nothing(argument: bytes) -> None:
    try:
        data = Command("RETR", argument).encode()
    except LocalProtocolError:
        assert set(argument) & set(b"\r\n\0")
    else:
        assert data == b"RETR " + argument + b"\r\n"
        assert data.count(b"\r") == data.count(b"\n") == 1
        assert b"\0" not in data
