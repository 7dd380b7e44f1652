import hashlib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.errors import ConfigError
from pooler.ops.http.auth import MAX_FAILURES, FailureTable, Scope, Token, load_tokens, parse_tokens

DIGEST = hashlib.sha256(b"token").hexdigest()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_token_file_has_comments_names_and_capitals() -> None:
    text = f"# people\n\nread:{DIGEST}\n  Operate:{DIGEST.upper()}:alice \nadmin:{DIGEST}:bob: the admin\n"
    assert parse_tokens(text, "tokens") == (
        Token(Scope.READ, DIGEST, DIGEST[:8]),
        Token(Scope.OPERATE, DIGEST, "alice"),
        Token(Scope.ADMIN, DIGEST, "bob: the admin"),
    )


def test_every_wrong_line_is_told_without_what_it_says() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_tokens(f"root:{DIGEST}\nread:{DIGEST}\nread:s3cret!\nread\n", "tokens")
    assert [problem.split(": ")[0] for problem in caught.value.problems] == [
        "tokens:1",
        "tokens:3",
        "tokens:4",
    ]
    assert "s3cret!" not in str(caught.value)


@given(st.text())
def test_any_text_is_tokens_or_a_config_error(text: str) -> None:
    with suppress(ConfigError):
        assert len(parse_tokens(text, "tokens")) <= len(text.splitlines())


def test_a_file_that_is_missing_or_empty_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_tokens(tmp_path / "none")
    (tmp_path / "empty").write_text("# nobody yet\n")
    with pytest.raises(ConfigError, match="at least one"):
        load_tokens(tmp_path / "empty")
    (tmp_path / "tokens").write_text(f"read:{DIGEST}\n")
    assert load_tokens(tmp_path / "tokens") == (Token(Scope.READ, DIGEST, DIGEST[:8]),)


def test_an_address_is_blocked_for_the_rest_of_its_minute() -> None:
    clock = Clock()
    failures = FailureTable(clock)
    for _ in range(MAX_FAILURES - 1):
        failures.failed("192.0.2.1")
    assert failures.blocked_s("192.0.2.1") == 0
    clock.now += 20
    failures.failed("192.0.2.1")
    assert failures.blocked_s("192.0.2.1") == 40
    assert failures.blocked_s("192.0.2.2") == 0
    clock.now += 40
    assert failures.blocked_s("192.0.2.1") == 0
    failures.failed("192.0.2.1")
    assert failures.blocked_s("192.0.2.1") == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),
    ],
)
def test_addresses_count_by_whose_they_are(one: str, other: str, *, same: bool) -> None:
    failures = FailureTable(Clock())
    for _ in range(MAX_FAILURES):
        failures.failed(one)
    assert (failures.blocked_s(other) > 0) is same


def test_the_table_of_failures_is_bounded() -> None:
    failures = FailureTable(Clock())
    for number in range(5000):
        failures.failed(f"10.0.{number // 256}.{number % 256}")
    assert len(failures._failures) == 1024
