"""The whole demo, as a process of its own: what it prints, how it ends, and that it leaves nothing."""

import os
import re
import select
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.process import family

LIMIT_S = 60


def environment(folder: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(folder), "NO_COLOR": "1", "COLUMNS": "80", **more}


@contextmanager
def running(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "pooler", "demo", *options],
        env=environment(folder, PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def read_to(process: subprocess.Popen[str], pattern: str) -> str:
    """Read what it prints up to the first line with ``pattern``; all of it."""
    assert process.stdout is not None
    read = ""
    for line in process.stdout:
        read += line
        if re.search(pattern, line):
            return read
    raise AssertionError(f"no line with {pattern!r} in:\n{read}")


def test_it_shows_that_all_is_right(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pooler", "demo", "--files", "60"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "check     60 of 60 copies are right in every byte" in lines
    assert "site-b    stopped, for 3 s" in lines
    assert "site-b    started again" in lines
    assert re.search(
        r"^site-b    does not answer, next try in [\d.]+ s, \d+ jobs waiting$", done.stdout, re.MULTILINE
    )
    assert re.search(r", one server away for \d+\.\d s of them: ", lines[-1])
    closing = r"60 files, \d+ MB in [\d.]+ s, .* \d+ retried, 0 failed, 60 verified; all right"
    assert re.fullmatch(closing, lines[-1])
    assert list(tmp_path.iterdir()) == []


def test_kept_up_it_can_be_used_until_ctrl_c(tmp_path: Path) -> None:
    with running(tmp_path, "--files", "20", "--keep") as process:
        told = read_to(process, r"^submit ")
        page = re.search(r"^page +(http://\S+/), token (\w+)$", told, re.MULTILINE)
        assert page is not None, told
        with urllib.request.urlopen(page[1], timeout=10) as answer:
            assert b'id="remotes"' in answer.read()
        asked = urllib.request.Request(f"{page[1]}v1/remotes", headers={"Authorization": f"Bearer {page[2]}"})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            assert b'"site-b"' in answer.read()
        relatives = family(process.pid)
        assert len(relatives) == 3  # itself and two servers
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 0
        assert set(family(process.pid)).isdisjoint(relatives)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("line", ["^kafka ", "^site-b    an FTP server", "^service   up", "stopped, for"])
def test_interrupted_anywhere_it_leaves_nothing(tmp_path: Path, line: str, number: signal.Signals) -> None:
    with running(tmp_path, "--files", "40") as process:
        read_to(process, line)
        relatives = family(process.pid)
        process.send_signal(number)
        assert process.wait(LIMIT_S) == 130
        assert set(family(process.pid)).isdisjoint(relatives)
    assert list(tmp_path.iterdir()) == []


def test_servers_do_not_outlive_a_demo_that_was_killed(tmp_path: Path) -> None:
    with running(tmp_path, "--files", "20") as process:
        read_to(process, "^files ")
        relatives = [pid for pid in family(process.pid) if pid != process.pid]
        assert len(relatives) == 2
        watched = [os.pidfd_open(pid) for pid in relatives]
        process.kill()
        for descriptor in watched:
            assert wait_for_end(descriptor)


def wait_for_end(descriptor: int) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    try:
        return bool(poller.poll(LIMIT_S * 1000))
    finally:
        os.close(descriptor)


def test_without_its_extra_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules['trustme'] = None\n"  # as if it were not there
    )
    done = subprocess.run(
        [sys.executable, "-m", "pooler", "demo"],
        env=environment(tmp_path, PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 7
    assert done.stderr == "pooler demo needs its extra: pip install 'ftp-pooler[demo]'\n"


def test_no_files_are_no_demo(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pooler", "demo", "--files", "0"],
        env=environment(tmp_path),
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 2
