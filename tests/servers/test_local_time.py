"""Servers whose MDTM keeps to their own zone, as vsftpd does with `use_localtime`."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from pooler.ftp.connector import FtpConnector
from pooler.ftp.profile import Profile
from tests.support.servers import running_server

ZONE = "Asia/Seoul"
MOMENT = datetime(2020, 2, 29, 20, 34, 56, tzinfo=UTC)


@pytest.mark.servers
async def test_times_of_vsftpd_with_use_localtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", ZONE)
    with running_server("vsftpd", tmp_path, extra=["use_localtime=YES"]) as server:
        file = server.put("/f", b"four")
        os.utime(file, (0, MOMENT.timestamp()))
        told = {}
        for zone in (UTC, ZoneInfo(ZONE)):
            profile = Profile(
                server.host,
                server.user,
                lambda: server.password,
                port=server.port,
                mdtm_timezone=zone,
                writing_mdtm=True,
            )
            session = await FtpConnector(profile).connect()
            told[zone] = (await session.stat("/f")).modified
            await session.aclose()
        assert told == {UTC: MOMENT + timedelta(hours=9), ZoneInfo(ZONE): MOMENT}
        session = await FtpConnector(profile).connect()
        later = MOMENT + timedelta(days=300)
        assert await session.set_modified("/f", later)
        assert file.stat().st_mtime == later.timestamp()
        await session.aclose()
