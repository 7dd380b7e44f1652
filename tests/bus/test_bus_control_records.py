"""The records of the control topic: what is written is read again, and nothing that stands there does
harm."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pooler.bus.control_records import MOST_BYTES, WrongRecord, decode, encode, tombstone
from pooler.model.control import (
    Ask,
    Claim,
    Gone,
    Knob,
    Login,
    Mode,
    PodNews,
    RemoteNews,
    Setting,
    Tell,
    Trial,
)

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
COUNTS = st.integers(0, 10**9)
MOMENTS = st.floats(0, 1e12)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=500)
SETTINGS = st.builds(
    Setting, NAMES, st.just(Knob.WORK), st.sampled_from(Mode), TEXTS, MOMENTS, TEXTS
) | st.builds(
    Setting,
    NAMES,
    st.sampled_from([knob for knob in Knob if knob is not Knob.WORK]),
    st.integers(0, 10**15),
    TEXTS,
    MOMENTS,
    TEXTS,
)
LOGINS = st.builds(Login, NAMES, NAMES, st.sampled_from(Trial), TEXTS, TEXTS, MOMENTS, TEXTS)
CLAIMS = st.builds(
    lambda holds, more, wants, total: Claim(holds, holds + more, wants, total), *[st.integers(0, 10**8)] * 4
)
REMOTES = st.builds(RemoteNews, TEXTS, st.booleans(), COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, MOMENTS, COUNTS)
PODS = st.builds(
    PodNews,
    NAMES,
    TEXTS,
    st.integers(0, 10**15),
    MOMENTS,
    TEXTS,
    MOMENTS,
    st.dictionaries(NAMES, CLAIMS, max_size=3),
    st.dictionaries(NAMES, REMOTES, max_size=3),
)
ASKS = st.builds(Ask, NAMES, TEXTS, MOMENTS, TEXTS, st.dictionaries(NAMES, TEXTS | st.none(), max_size=3))
TELLS = st.builds(
    Tell,
    NAMES,
    NAMES,
    TEXTS,
    MOMENTS,
    st.lists(st.integers(0, 9)).map(lambda found: json.dumps(found).encode()) | st.none(),
    TEXTS,
)
POD: dict[str, Any] = {
    "v": 1, "pod": "pooler-0", "serial": 3, "at": 1.0, "version": "0.1.0", "every_s": 3.0,
    "claims": {"remote far": {"holds": 2, "asks": 3, "wants": 9, "total": 10}}, "remotes": {},
}  # fmt: skip


def read(key: str, **fields: Any) -> Any:
    return decode(key.encode(), json.dumps(fields).encode())


@given(SETTINGS | LOGINS | PODS | ASKS | TELLS)
@example(Setting("a/b %é", Knob.MAX_SESSIONS, 3, "anna", 1.5, "why"))
def test_what_is_written_is_read_again(news: Setting | Login | PodNews | Ask | Tell) -> None:
    assert decode(*encode(news)) == news


@given(st.sampled_from(["remote", "login"]), NAMES, NAMES)
def test_what_is_taken_back_is_named_by_its_key(kind: str, name: str, what: str) -> None:
    gone = Gone(kind, (name, what))
    expected = None if kind == "remote" and what not in set(Knob) else gone
    assert decode(tombstone(gone), None) == expected
    assert decode(tombstone(gone), b"") == expected


@given(
    st.none() | st.binary(max_size=60) | st.just(b"pod/x") | st.just(b"remote/x/work"),
    st.none() | st.binary(),
)
def test_whatever_stands_there_is_read_passed_over_or_told_to_be_wrong(
    key: bytes | None, value: bytes | None
) -> None:
    try:
        found = decode(key, value)
    except WrongRecord:
        return
    assert found is None or isinstance(found, Gone | Setting | Login | PodNews | Ask | Tell)


def test_what_a_newer_version_has_written_is_passed_over() -> None:
    assert read("remote/far/work", v=2, value="hibernate") is None
    assert read("remote/far/colour", v=1, value="blue", by="anna", at=1) is None
    assert read("weather/far", v=1) is None
    assert read("login/far/abc", v=2) is None
    assert read("remote/far/work", v=1, value="pause", by="anna", at=1, colour="blue") == Setting(
        "far", Knob.WORK, Mode.PAUSE, "anna", 1.0
    )


def test_what_a_pod_holds_counts_whatever_its_version() -> None:
    found = read("pod/cafe", **{**POD, "v": 7, "mood": "fine"})
    assert isinstance(found, PodNews)
    assert found.claims == {"remote far": Claim(2, 3, 9, 10)}


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        ("remote/far/work", {"v": 1, "value": "hibernate", "by": "anna", "at": 1}),
        ("remote/far/work", {"v": 1, "value": "pause", "at": 1}),
        ("remote/far/work", {"value": "pause", "by": "anna", "at": 1}),
        ("remote/far/max_sessions", {"v": 1, "value": -1, "by": "anna", "at": 1}),
        ("remote/far/max_sessions", {"v": 1, "value": "3", "by": "anna", "at": 1}),
        ("remote/far/bandwidth", {"v": 1, "value": 10**16, "by": "anna", "at": 1}),
        ("login/far/abc", {"v": 1, "trial": "maybe", "by": "x", "pod": "p", "at": 1}),
        ("login/far/abc", {"v": 1, "trial": "refused", "by": "x", "pod": "p" * 501, "at": 1}),
        ("pod/cafe", {**POD, "claims": {"remote far": {"holds": 3, "asks": 2, "wants": 9, "total": 10}}}),
        ("pod/cafe", {**POD, "claims": {"remote far": {"holds": -3, "asks": 2, "wants": 9, "total": 10}}}),
        ("pod/cafe", {**POD, "serial": True}),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_wrong(key: str, fields: dict[str, Any]) -> None:
    with pytest.raises(WrongRecord):
        read(key, **fields)


def test_texts_are_cut_and_can_be_written() -> None:
    found = decode(*encode(Login("far", "abc", Trial.REFUSED, "cafe", "p", 1.0, "530 \udce9" + "x" * 1000)))
    assert isinstance(found, Login)
    assert found.reply == "530 ?" + "x" * 495


def test_of_too_many_remotes_the_busiest_are_told_of_and_all_claims() -> None:
    news = {
        f"remote-{number}": RemoteNews("closed", False, number, 0, 0, 9, 0, 0.0, 0) for number in range(5000)
    }
    claims = {f"remote remote-{number}": Claim(0, 0, 0, 10) for number in range(1000)}
    pod = PodNews("cafe", "pooler-0", 1, 1.0, "1", 3.0, claims, news)
    key, value = encode(pod)
    assert len(value) <= MOST_BYTES
    found = decode(key, value)
    assert isinstance(found, PodNews)
    assert dict(found.claims) == claims
    assert "remote-4999" in found.remotes
    assert "remote-0" not in found.remotes


def test_too_much_to_tell_is_told() -> None:
    found = decode(*encode(Tell("q", "cafe", "p", 1.0, b'"' + b"x" * MOST_BYTES + b'"')))
    assert isinstance(found, Tell)
    assert (found.body, found.error[:24]) == (None, "there is too much to tel")


def test_a_value_that_is_too_large_is_not_read() -> None:
    with pytest.raises(WrongRecord, match="at most"):
        decode(b"pod/cafe", b" " * (MOST_BYTES + 1))
