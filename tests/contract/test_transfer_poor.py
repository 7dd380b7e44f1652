"""Servers that can do little: drop boxes, where nothing is shown, and those that cannot rename."""

from pathlib import Path

import pytest

from pooler.config.remotes import FtpRemote
from pooler.config.temp_name import TempName
from pooler.errors import ErrorCode, ReplyError
from pooler.ftp.connector import FtpConnector
from pooler.model.job import Direction, Options, Origin, Verify
from pooler.storage.root import LocalRoot
from pooler.transfer.attempt import Attempt, Transferred
from pooler.transfer.names import Author
from pooler.transfer.plan import plan_of
from pooler.transfer.upload import upload
from tests.support.scripted import Script, ScriptedServer, scripted_server

DATA = b"ten bytes."
REFUSED = b"550 Permission denied."
UNKNOWN = b"502 Command not implemented."
ABOUT_FILES = ("SIZE", "MDTM", "MLST", "MLSD", "LIST", "NLST", "RETR", "RNFR", "RNTO", "DELE", "MFMT", "SITE")
BOX: Script = dict.fromkeys(ABOUT_FILES, REFUSED)
POOR: Script = dict.fromkeys(ABOUT_FILES, UNKNOWN)


async def send(
    server: ScriptedServer,
    folder: Path,
    remote: FtpRemote,
    options: Options = Options(),  # noqa: B008 - frozen
) -> Transferred:
    (folder / "f").write_bytes(DATA)
    session = await FtpConnector(server.profile()).connect()
    left_behind: list[str] = []
    try:
        return await upload(
            Attempt(
                plan=plan_of(
                    remote, Direction.UPLOAD, "/f", folder="disk", local_parts=("f",), options=options
                ),
                session=session,
                root=LocalRoot("disk", folder),
                author=Author("test", Origin("tasks", 0, 0), 1),
                buffer=memoryview(bytearray(64)),
                moved=lambda _: None,
                left_behind=left_behind.append,
                resume_above_bytes=1,
            )
        )
    finally:
        await session.aclose()


def site(**keys: object) -> FtpRemote:
    return FtpRemote("site", "h", "u", str, **keys)  # type: ignore[arg-type]


@pytest.mark.parametrize("script", [BOX, POOR], ids=["refuses", "does not know"])
@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(verify=Verify.READ_BACK),
        Options(resume=True, preserve_mtime=True),
        Options(write_marker=True),
    ],
    ids=["plain", "read back", "resume", "marker"],
)
async def test_point_24_a_drop_box(tmp_path: Path, script: Script, options: Options) -> None:
    remote = site(write_only=True, in_place=True, verify=Verify.NONE)
    async with scripted_server(script) as server:
        done = await send(server, tmp_path, remote, options)
        assert (done.bytes_transferred, done.verified) == (10, "none")
        assert done.mtime_kept is (False if options.preserve_mtime else None)
        assert server.files == {"/f": DATA} | ({"/f.ok": b""} if options.write_marker else {})
        if options == Options():
            assert not set(server.verbs()) & set(ABOUT_FILES)


@pytest.mark.parametrize(("script", "verify"), [(BOX, None), (POOR, None), (BOX, Verify.READ_BACK)])
async def test_point_24_what_cannot_be_verified_is_said_without_any_key(
    tmp_path: Path, script: Script, verify: Verify | None
) -> None:
    async with scripted_server(script) as server:
        done = await send(server, tmp_path, site(in_place=True), Options(verify=verify))
        assert done.verified == "none"
        assert server.files == {"/f": DATA}


@pytest.mark.parametrize("code", [500, 502])
async def test_point_12_a_server_that_cannot_rename_needs_in_place(tmp_path: Path, code: int) -> None:
    script: Script = {"RNFR": b"%d What is that?" % code}
    async with scripted_server(script) as server:
        with pytest.raises(ReplyError, match=r"RNFR .*in_place = true") as caught:
            await send(server, tmp_path, site())
        assert caught.value.code is ErrorCode.PROTOCOL_ERROR
        assert server.files == {}
        assert (await send(server, tmp_path, site(in_place=True))).verified == "size"
        assert server.files == {"/f": DATA}


async def test_point_24_a_server_that_takes_every_file_away_at_once_needs_write_only(tmp_path: Path) -> None:
    gone = b"550 No such file."
    async with scripted_server({"SIZE": gone, "MLST": gone, "MDTM": gone}) as server:
        with pytest.raises(ReplyError, match="write_only = true"):
            await send(server, tmp_path, site(in_place=True))
        done = await send(server, tmp_path, site(in_place=True, write_only=True))
        assert done.verified == "none"


async def test_point_24_a_name_that_the_server_s_pollers_leave_alone(tmp_path: Path) -> None:
    async with scripted_server() as server:
        await send(server, tmp_path, site(temp_name=TempName("", "{name}.filepart")))
        assert server.files == {"/f": DATA}
        assert "STOR /f.filepart" in server.commands
