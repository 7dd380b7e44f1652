"""What refusals mean, by what real servers say."""

import time

import pytest

from pooler.errors import (
    ConnectError,
    ErrorCode,
    LoginRefused,
    Remedy,
    RemoteError,
    ReplyError,
    SessionLost,
    TlsError,
    TooManySessions,
)
from pooler.ftp.replies import RULES, classify, farewell, is_vague
from pooler.ftp.wire import Command, Reply


def make(line: str, command: str) -> RemoteError:
    verb, _, argument = command.partition(" ")
    return classify(
        Reply(int(line[:3]), (line[4:].encode(),)),
        Command(verb, argument.encode() or None) if verb else None,
    )


@pytest.mark.parametrize(
    ("line", "command", "error"),
    [
        # vsftpd
        ("421 There are too many connected users, please try later.", "", TooManySessions),
        ("421 There are too many connections from your internet address.", "", TooManySessions),
        ("530 Login incorrect.", "PASS x", LoginRefused),
        ("530 Permission denied.", "USER x", LoginRefused),
        ("530 Non-anonymous sessions must use encryption.", "USER x", TlsError),
        ("500 OOPS: cannot change directory:/home/x", "PASS x", ConnectError),
        ("500 OOPS: priv_sock_send_cmd", "PASV", SessionLost),
        ("500 OOPS: child died", "RETR /a", SessionLost),
        ("421 Timeout.", "SIZE /a", SessionLost),
        ("522 SSL connection failed; session reuse required: see require_ssl_reuse", "STOR /a", TlsError),
        ("530 Please login with USER and PASS.", "SIZE /a", SessionLost),
        # proftpd
        (
            "530 Sorry, the maximum number of allowed clients (3) already connected.",
            "PASS x",
            TooManySessions,
        ),
        (
            "530 Sorry, the maximum number of connections (1) for your user are already connected.",
            "PASS x",
            TooManySessions,
        ),
        ("550 SSL/TLS required on the control channel", "USER x", TlsError),
        ("421 Login incorrect.", "PASS x", LoginRefused),
        ("425 Unable to build data connection: Operation not permitted", "STOR /a", TlsError),
        # pure-ftpd
        ("421 50 users (the maximum) are already logged in, sorry", "", TooManySessions),
        ("421 Too many connections (8) from this IP", "", TooManySessions),
        (
            "421 Sorry, cleartext sessions and weak ciphers are not accepted on this server.",
            "USER x",
            TlsError,
        ),
        ("530 Login authentication failed", "PASS x", LoginRefused),
        # pyftpdlib
        ("421 Too many connections. Service temporarily unavailable.", "", TooManySessions),
        ("421 Too many connections from the same IP address.", "", TooManySessions),
        ("530 Authentication failed.", "PASS x", LoginRefused),
        ("421 Too many authentication failures.", "PASS x", LoginRefused),
        # FileZilla Server, IIS, sftpgo and others
        ("421 Too many users are connected, please try again later.", "", TooManySessions),
        ("421 Service not available, maximum number of users (10) reached.", "", TooManySessions),
        ("530 User cannot log in.", "PASS x", LoginRefused),
        ("530 Too many failed login attempts", "PASS x", LoginRefused),
        ("430 Invalid username or password", "PASS x", LoginRefused),
        ("530 already connected", "USER x", TooManySessions),
        ("421 Too many open sessions", "NOOP", TooManySessions),
        ("530 Connection limit reached", "NOOP", TooManySessions),
        ("331 Again", "PASS x", LoginRefused),
        ("332 Account", "USER x", LoginRefused),
        ("532 Need account for storing files.", "STOR /a", LoginRefused),
        ("550 Go away", "", ConnectError),
        ("451 Trouble", "PASS x", ConnectError),
        ("501 Bad user", "USER x", LoginRefused),
        ("431 No TLS", "AUTH TLS", TlsError),
        ("502 What?", "PROT P", TlsError),
    ],
)
def test_point_5_what_ends_a_session(line: str, command: str, error: type[RemoteError]) -> None:
    found = make(line, command)
    assert type(found) is error
    assert line[4:] in str(found)
    assert not found.session_survives


@pytest.mark.parametrize(
    ("line", "command", "code", "remedy"),
    [
        ("550 Failed to open file.", "RETR /a", ErrorCode.FILE_NOT_FOUND, Remedy.NEVER),
        ("550 Could not get file size.", "SIZE /a", ErrorCode.FILE_NOT_FOUND, Remedy.NEVER),
        ("550 /a: No such file or directory", "RETR /a", ErrorCode.FILE_NOT_FOUND, Remedy.NEVER),
        ("550 /a: not a plain file", "RETR /a", ErrorCode.FILE_NOT_FOUND, Remedy.NEVER),
        (
            "550 The system cannot find the file specified. ",
            "RETR /a",
            ErrorCode.FILE_NOT_FOUND,
            Remedy.NEVER,
        ),
        ("550 /a doesn't exist", "DELE /a", ErrorCode.FILE_NOT_FOUND, Remedy.NEVER),
        ("450 No such file", "RETR /a", ErrorCode.FILE_NOT_FOUND, Remedy.LATER),
        ("550 Permission denied.", "RETR /a", ErrorCode.PERMISSION_DENIED, Remedy.NEVER),
        ("550 Access is denied. ", "DELE /a", ErrorCode.PERMISSION_DENIED, Remedy.NEVER),
        ("530 You are not allowed to do that", "STOR /a", ErrorCode.PERMISSION_DENIED, Remedy.NEVER),
        ("553 Could not create file.", "STOR /a", ErrorCode.PERMISSION_DENIED, Remedy.NEVER),
        ("550 Create directory operation failed.", "MKD /a", ErrorCode.PERMISSION_DENIED, Remedy.NEVER),
        ("553 Rename failed.", "RNTO /a", ErrorCode.PERMISSION_DENIED, Remedy.NEVER),
        ("553 No.", "SIZE /a", ErrorCode.PERMISSION_DENIED, Remedy.NEVER),
        (
            "553 Can't open that file: No such file or directory",
            "STOR /a/b",
            ErrorCode.FILE_NOT_FOUND,
            Remedy.NEVER,
        ),
        (
            "550 Cannot create a file when that file already exists.",
            "RNTO /a",
            ErrorCode.DESTINATION_EXISTS,
            Remedy.NEVER,
        ),
        ("550 Broken pipe", "STOR /a", ErrorCode.CONNECTION_ERROR, Remedy.LATER),
        ("550 Connection timed out", "RETR /a", ErrorCode.CONNECTION_ERROR, Remedy.LATER),
        ("550 Too many open files", "RETR /a", ErrorCode.CONNECTION_ERROR, Remedy.LATER),
        ("550 File is being used by another process.", "DELE /a", ErrorCode.CONNECTION_ERROR, Remedy.LATER),
        ("452 Not now", "STOR /a", ErrorCode.DISK_FULL, Remedy.MORE_ROOM),
        ("552 Quota exceeded", "STOR /a", ErrorCode.DISK_FULL, Remedy.MORE_ROOM),
        ("451 No space left on device", "STOR /a", ErrorCode.DISK_FULL, Remedy.MORE_ROOM),
        ("550 Disk full", "MKD /a", ErrorCode.DISK_FULL, Remedy.MORE_ROOM),
        ("425 Can't open data connection.", "RETR /a", ErrorCode.CONNECTION_ERROR, Remedy.LATER),
        ("426 Failure reading network stream.", "STOR /a", ErrorCode.CONNECTION_ERROR, Remedy.LATER),
        ("450 File busy", "RETR /a", ErrorCode.IO_ERROR, Remedy.LATER),
        ("451 Local error", "RETR /a", ErrorCode.IO_ERROR, Remedy.LATER),
        ("501 Bad argument", "SIZE /a", ErrorCode.PROTOCOL_ERROR, Remedy.NEVER),
        ("503 RNFR first", "RNTO /a", ErrorCode.PROTOCOL_ERROR, Remedy.NEVER),
    ],
)
def test_point_6_what_refuses_a_command(line: str, command: str, code: ErrorCode, remedy: Remedy) -> None:
    error = make(line, command)
    assert isinstance(error, ReplyError)
    assert (error.code, error.remedy) == (code, remedy)
    assert (error.reply_code, error.command) == (int(line[:3]), command)
    assert error.session_survives


def test_a_resumption_refused_wants_another_session() -> None:
    assert make("522 session reuse required", "STOR /a").remedy is Remedy.ANOTHER_SESSION
    assert make("534 no", "PROT P").remedy is Remedy.REMOTE_AWAY


def test_the_table_answers_everything() -> None:
    for code in range(100, 600):
        for command in ("", "USER x", "PROT P", "STOR /a", "NOOP"):
            assert "whatever" in str(make(f"{code} whatever", command))
    assert RULES[-1].fits("599", "NOOP", "")


def test_passwords_are_not_told() -> None:
    assert "secret" not in str(make("530 No.", "PASS secret"))


def test_farewells() -> None:
    assert isinstance(farewell(Reply(421, (b"Too many users",))), TooManySessions)
    assert isinstance(farewell(Reply(421, (b"Timeout",))), SessionLost)


@pytest.mark.parametrize(
    ("line", "vague"),
    [
        ("550 Failed to open file.", True),
        ("553 Could not create file.", True),
        ("550 No such file", False),
        ("550 Permission denied", False),
        ("450 Failed to open file.", False),
    ],
)
def test_vague_refusals(line: str, vague: bool) -> None:  # noqa: FBT001 - a column of the table
    error = make(line, "RETR /a")
    assert isinstance(error, ReplyError)
    assert is_vague(error) is vague


@pytest.mark.parametrize("command", ["", "PASS x", "STOR /a", "RETR /a"])
@pytest.mark.parametrize("words", ["must ", "too many ", "ssl ", "insufficient ", "maximum a", "login("])
def test_no_text_takes_long(words: str, command: str) -> None:
    began = time.process_time()
    for code in (421, 530, 550):
        error = make(f"{code} {words * 8000}", command)
        if isinstance(error, ReplyError):
            is_vague(error)
    assert time.process_time() - began < 2
