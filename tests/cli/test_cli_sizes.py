"""How large sources are: those of our own folders are looked at as a job would, and never beyond the root."""

from pathlib import Path

import pytest

from pooler.cli.jobs.sizes import sizes
from pooler.config import load
from pooler.model.job import Endpoint, Job


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/a", (5, 0)),
        ("/b/../a", (5, 0)),
        ("/missing", (0, 1)),
        ("/../outside", (0, 1)),
        ("/link", (0, 1)),
        ("/pipe/", (0, 1)),
    ],
)
async def test_a_source_of_our_own(tmp_path: Path, path: str, told: tuple[int, int]) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "a").write_bytes(b"12345")
    (tmp_path / "outside").write_bytes(b"123")
    (tmp_path / "local" / "link").symlink_to("../outside")
    (tmp_path / "c.ini").write_text(
        f"[local]\ntype = local\nbase_path = {tmp_path / 'local'}\n[site]\ntype = ftp\nhost = h\nuser = u\n"
    )
    configuration = load(None, tmp_path / "c.ini", {})
    job = Job("t", Endpoint("local", path), Endpoint("site", "/x"))
    assert await sizes(configuration, [job]) == told
