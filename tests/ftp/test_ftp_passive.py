"""Where to connect, read from what servers really say."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.errors import PeerProtocolError
from pooler.ftp.passive import parse_epsv, parse_pasv


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("Entering Passive Mode (127,0,0,1,4,210).", ("127.0.0.1", 1234)),
        ("Entering Passive Mode 10,1,2,3,255,255", ("10.1.2.3", 65535)),
        ("=10,1,2,3,0,1", ("10.1.2.3", 1)),
        ("Passive mode (since 9 o'clock) is ( 10, 1, 2, 3, 0, 21 )", ("10.1.2.3", 21)),
        ("mode 1,2 (10,1,2,3,0,21)", ("10.1.2.3", 21)),
    ],
)
def test_pasv(text: str, address: tuple[str, int]) -> None:
    assert parse_pasv(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "(1,2,3,4,5)",
        "(1,2,3,4,256,1)",
        "(999,2,3,4,5,6)",
        "(1,2,3,4,0,0)",
        "(1.2.3.4,5,6)",
        "(\u0661,2,3,4,5,6)",
        "x" * 9000,
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(PeerProtocolError) as caught:
        parse_pasv(text)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("Entering Extended Passive Mode (|||6446|)", 6446),
        ("Extended Passive (!!!1!).", 1),
        ("(|1|10.0.0.1|65535|)", 65535),
        ("(2001) then (|||21|)", 21),
    ],
)
def test_epsv(text: str, port: int) -> None:
    assert parse_epsv(text) == (None, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "(|||)",
        "(||||)",
        "(|||0|)",
        "(|||65536|)",
        "(|||123456|)",
        "(||!21|)",
        "|||21|",
        "(|||-1|)",
        "(|||\u0661|)",
    ],
)
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(PeerProtocolError):
        parse_epsv(text)


@given(st.text(max_size=200))
def test_no_text_breaks_them(text: str) -> None:
    for parse in (parse_pasv, parse_epsv):
        try:
            address = parse(text)
        except PeerProtocolError:
            continue
        assert 1 <= address.port <= 65535


@pytest.mark.parametrize("text", ["(" + "|" * 60_000, "1 , x" * 12_000, "1" + " " * 60_000, "(" * 60_000])
def test_no_text_takes_long(text: str) -> None:
    began = time.process_time()
    for parse in (parse_pasv, parse_epsv):
        with pytest.raises(PeerProtocolError):
            parse(text)
    assert time.process_time() - began < 2
