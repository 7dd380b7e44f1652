"""What a file under TLS costs the client, in instructions: by valgrind, as no noise moves them.

    python -m benchmarks.tls [--files 50] [--version TLSv1.3] [--way down]

One session of the client alone (`pooler.ftp`), one file of 500 kB again and again, vsftpd on loopback. What
so many files take less what ten take, divided by the difference: the start is not in it. To compare two
checkouts, run it in both. Needs root, vsftpd and valgrind, and takes minutes.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import trio

from pooler.ftp.connector import FtpConnector
from pooler.ftp.profile import Profile
from tests.support.servers import RunningServer, running_server

_FEW = 10
_SIZE_BYTES = 500_000
_ROOM = memoryview(bytearray(1 << 20))


async def copy(profile: Profile, way: str, files: int) -> None:
    """Copy so many files."""
    session = await FtpConnector(profile).connect()
    data = memoryview(os.urandom(_SIZE_BYTES))
    for _ in range(files):
        if way == "down":
            async with session.retrieving("/out/f") as download:
                filled = 0
                while count := await download.receive_into(_ROOM[filled:]):
                    filled += count
            if filled != _SIZE_BYTES:
                raise SystemExit(f"{filled} bytes came")
        else:
            async with session.storing("/in/f") as upload:
                await upload.send_all(data)
    await session.aclose()


def count(server: RunningServer, way: str, files: int) -> int:
    """Count the instructions of a process that copies so many."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-m"]
    command += ["benchmarks.tls", "--way", way, "--files", str(files), "--at", str(server.port)]
    command += [str(server.ca_file), server.user, server.password]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    found = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    match = re.search(r"Collected : (\d+)", found.stderr)
    if match is None:
        raise SystemExit(found.stderr)
    return int(match[1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=50)
    parser.add_argument("--version", choices=["TLSv1.2", "TLSv1.3"], default="TLSv1.3")
    parser.add_argument("--way", choices=["down", "up"], default="down")
    parser.add_argument("--at", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.at:
        port, ca_file, user, password = options.at
        profile = Profile(
            host="127.0.0.1",
            port=int(port),
            user=user,
            password=lambda: password,
            tls="explicit",
            ca_file=ca_file,
        )
        trio.run(copy, profile, options.way, options.files)
        return
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        running_server("vsftpd", Path(folder), tls=True, tls_version=options.version) as server,
    ):
        server.put("/out/f", os.urandom(_SIZE_BYTES))
        server.make_folder("/in")
        many, few = (count(server, options.way, files) for files in (options.files, _FEW))
    print(f"{(many - few) / (options.files - _FEW) / 1e6:.2f} million instructions a file")


if __name__ == "__main__":
    main()
