"""What is fuzzed of the service: records of the input topic, connections.ini, passwords, and paths."""

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path

from pooler.bus.records import Invalid, Undecodable, dead_letter, decode, encode_invalid, encode_outcome
from pooler.config import sections
from pooler.config.ftp_section import Format
from pooler.config.obscure import obscure, reveal
from pooler.config.problems import Problems
from pooler.config.remotes import FtpRemote
from pooler.config.temp_name import temp_name
from pooler.errors import ErrorCode, JobError
from pooler.model.job import Endpoint, Origin, Record
from pooler.model.outcome import Failure, Outcome, Status
from pooler.transfer.plan import on_server

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
REMOTE = FtpRemote("site", "ftp.example.com", "anna", lambda: "", base_path="/base")
FAILED = Outcome(Status.FAILED, failure=Failure(ErrorCode.IO_ERROR, "it broke", retriable=True))
ROOM_BYTES = 8192
"""What an answer may take beyond the record that it answers."""
FORMATS: tuple[Format, ...] = ("plain", "rclone")


def records(data: bytes) -> None:
    """Whatever a record holds, there is one answer to it, and its topic takes that."""
    record, limit_bytes = Record(Origin("tasks", 0, 1), b"k", data), len(data) + ROOM_BYTES
    found = decode(record)
    if isinstance(found, Undecodable):
        out = dead_letter(record, found, limit_bytes=limit_bytes)
    elif isinstance(found, Invalid):
        out = encode_invalid(found, record, worker="w", now=NOW, limit_bytes=limit_bytes)
        json.loads(out.value or b"")
    else:
        out = encode_outcome(found, record, FAILED, worker="w", now=NOW, limit_bytes=limit_bytes)
        json.loads(out.value or b"")
    if out.size_bytes > limit_bytes:
        raise AssertionError(out.size_bytes)


def connections(data: bytes) -> None:
    """The mistakes of a file are told and nothing else happens."""
    text = data.decode("utf-8", "replace")
    for file_format in FORMATS:
        problems = Problems()
        found = sections.read(
            text, "connections.ini", {}, problems, file_format=file_format, local_root=Path("/srv")
        )
        if any("\n" in line for line in (*problems.mistakes, *problems.warnings)):
            raise AssertionError(problems.mistakes)
        repr(found)


def obscured(data: bytes) -> None:
    """A password is revealed or refused, and never shown."""
    text = data.decode("utf-8", "replace")
    try:
        password = reveal(text)
    except ValueError as error:
        if len(text) > len("base64url") and text in str(error):
            raise AssertionError from error
        return
    if reveal(obscure(password)) != password:
        raise AssertionError


def paths(data: bytes) -> None:
    """No path of a job's leaves its root or ends a command line; the same for temporary names."""
    text = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(JobError):
        path = on_server(REMOTE, Endpoint("site", text))
        parts = path.replace("\\", "/").split("/")
        if not path.startswith("/base/") or ".." in parts or not {"\r", "\n", "\0"}.isdisjoint(path):
            raise AssertionError(path)
    with contextlib.suppress(ValueError):
        pattern = temp_name(text)
        parts = f"{pattern.folder}/{pattern.name}".replace("\\", "/").split("/")
        if ".." in parts or not {"\r", "\n", "\0"}.isdisjoint(text):
            raise AssertionError(pattern)


SERVICE_TARGETS = (records, connections, obscured, paths)
