import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from pooler.ops import logs


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers, root.level = handlers, level


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_json_line_begins_with_time_level_and_event(stream: io.StringIO) -> None:
    logs.configure("info", "json", stream)
    with structlog.contextvars.bound_contextvars(remote="site-a"):
        structlog.get_logger().info("transfer_completed", size_bytes=12)
    (line,) = lines(stream)
    assert list(line)[:3] == ["time", "level", "event"]
    assert line["level"] == "info"
    assert line["event"] == "transfer_completed"
    assert line["remote"] == "site-a"
    assert line["size_bytes"] == 12
    assert str(line["time"]).endswith("Z")


def test_less_than_the_level_is_not_written(stream: io.StringIO) -> None:
    logs.configure("WARNING", "json", stream)
    structlog.get_logger().info("transfer_completed")
    assert stream.getvalue() == ""


def test_console_lines_are_for_people(stream: io.StringIO) -> None:
    logs.configure("INFO", "console", stream)
    structlog.get_logger().warning("login_refused", remote="site-a", password="s3cret!")
    assert "login_refused" in stream.getvalue()
    assert "site-a" in stream.getvalue()
    assert "s3cret!" not in stream.getvalue()
    assert not stream.getvalue().startswith("{")


@pytest.mark.parametrize(
    ("level", "form", "told"), [("LOUD", "json", "LOUD"), ("INFO", "xml", "xml"), ("", "json", "INFO")]
)
def test_a_wrong_setting_is_named(level: str, form: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        logs.configure(level, form, io.StringIO())


@pytest.mark.parametrize(
    "key",
    ["password", "pass", "Passwd", "sasl_plain_password", "token", "tokens", "api_key", "Authorization"],
)
def test_a_field_called_after_a_secret_loses_its_value(stream: io.StringIO, key: str) -> None:
    logs.configure("INFO", "json", stream)
    structlog.get_logger().info("configured", **{key: "s3cret!"}, nested={"a": [{key: "s3cret!"}]})
    (line,) = lines(stream)
    assert line[key] == "***"
    assert "s3cret!" not in stream.getvalue()


@pytest.mark.parametrize("key", ["passive", "bypass", "compass", "passed", "secretary"])
def test_a_field_that_only_sounds_like_a_secret_stays(stream: io.StringIO, key: str) -> None:
    logs.configure("INFO", "json", stream)
    structlog.get_logger().info("configured", **{key: "plain"})
    assert lines(stream)[0][key] == "plain"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("> PASS s3cret! and more", "> PASS ***"),
        ("PASS s3cret!\r\nUSER x", "PASS ***\r\nUSER x"),
        ("ACCT s3cret!", "ACCT ***"),
        ("PASS ***: 530 Login incorrect", "PASS ***: 530 Login incorrect"),
        ("ftp://user:s3cret!@host/x", "ftp://user:***@host/x"),
        ("ftp://user:s3:cr@et@host/x", "ftp://user:***@host/x"),
        ("https://s3cret@host/x", "https://***@host/x"),
        ("https://host/a@b", "https://host/a@b"),
        ("Authorization: Bearer s3cret-s3cret", "Authorization: Bearer ***"),
        (
            "Consumer(user='u', sasl_plain_password='s3 cret', x=1)",
            "Consumer(user='u', sasl_plain_password=***, x=1)",
        ),
        ("pass the salt", "pass the salt"),
        ("227 Entering Passive Mode", "227 Entering Passive Mode"),
    ],
)
def test_secrets_inside_text_are_masked(stream: io.StringIO, text: str, clean: str) -> None:
    logs.configure("INFO", "json", stream)
    structlog.get_logger().info("replied", text=text, error=RuntimeError(text), deep=[(text,)])
    (line,) = lines(stream)
    assert line["text"] == clean
    assert line["error"] == f"RuntimeError: {clean}"
    assert line["deep"] == [[clean]]


def test_secrets_in_tracebacks_and_foreign_objects_are_masked(stream: io.StringIO) -> None:
    class Odd:
        def __repr__(self) -> str:
            return "Odd(password='s3cret!')"

    logs.configure("INFO", "json", stream)
    try:
        int("PASS s3cret!")
    except ValueError:
        structlog.get_logger().exception("bug_met", odd=Odd())
    assert "s3cret!" not in stream.getvalue()
    assert "PASS ***" in str(lines(stream)[0]["exception"])


@given(
    password=st.text(st.characters(exclude_characters="\r\n"), min_size=1).filter(str.strip), before=st.text()
)
def test_no_argument_of_pass_survives(password: str, before: str) -> None:
    secret = f"«{password}»"
    cleaned = logs.redact(None, "info", {"text": f"{before} PASS {secret}"})
    assert secret not in cleaned["text"]


@given(st.recursive(st.text() | st.binary() | st.integers() | st.none(), st.lists, max_leaves=20))
def test_whatever_is_logged_makes_one_line(value: object) -> None:
    stream = io.StringIO()
    logs.configure("INFO", "json", stream)
    structlog.get_logger().info("told", value=value)
    assert len(lines(stream)) == 1


def test_trouble_that_repeats_is_held_back_and_counted(stream: io.StringIO) -> None:
    clock = Clock()
    logs.configure("INFO", "json", stream, clock=clock)
    for _ in range(logs.REPEATS_PER_MINUTE + 5):
        structlog.get_logger().warning("connect_failed", remote="site-a")
    structlog.get_logger().warning("connect_failed", remote="site-b")
    assert [line["remote"] for line in lines(stream)] == ["site-a"] * logs.REPEATS_PER_MINUTE + ["site-b"]

    clock.now = 60.0
    stream.truncate(stream.seek(0))
    structlog.get_logger().warning("connect_failed", remote="site-a")
    structlog.get_logger().warning("connect_failed", remote="site-a")
    repeated, *again = lines(stream)
    assert repeated["event"] == "repeated"
    assert repeated["repeated_event"] == "connect_failed"
    assert repeated["remote"] == "site-a"
    assert repeated["held_back"] == 5
    assert [line["event"] for line in again] == ["connect_failed", "connect_failed"]


def test_one_line_a_job_is_never_held_back(stream: io.StringIO) -> None:
    logs.configure("INFO", "json", stream, clock=Clock())
    for _ in range(1000):
        structlog.get_logger().info("transfer_completed", remote="site-a")
    assert len(lines(stream)) == 1000


def test_names_without_end_share_one_window(stream: io.StringIO) -> None:
    clock = Clock()
    logs.configure("INFO", "json", stream, clock=clock)
    for number in range(5000):
        structlog.get_logger().warning("odd_thing", remote=str(number))
    assert len(lines(stream)) == 1024 + logs.REPEATS_PER_MINUTE
    clock.now = 60.0
    structlog.get_logger().info("told")
    *_, repeated, _told = lines(stream)
    assert repeated["repeated_event"] == "others"
    assert repeated["held_back"] == 5000 - 1024 - logs.REPEATS_PER_MINUTE


def test_what_libraries_log_goes_the_same_way(stream: io.StringIO) -> None:
    logs.configure("DEBUG", "json", stream)
    logs.configure("DEBUG", "json", stream)
    logging.getLogger("aiokafka.conn").warning("Unable connect to %s", "kafka://u:s3cret@broker")
    logging.getLogger("aiokafka.conn").info("not of interest")
    (line,) = lines(stream)
    assert line["event"] == "library_message"
    assert line["level"] == "warning"
    assert line["logger"] == "aiokafka.conn"
    assert line["message"] == "Unable connect to kafka://u:***@broker"
