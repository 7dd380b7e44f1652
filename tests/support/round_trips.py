"""Copies small files over one session, captures its packets meanwhile, and counts the round trips of each.

    python -m tests.support.round_trips HOST PORT USER PASSWORD FOLDER ROUND_TRIP_S [tls]

Runs at the near end of a link (``benchmarks.link``), as root. What is sent in answer to something comes at
least a round trip behind what that was an answer to; what comes sooner is beside it. So a new round trip
begins with the first packet, a SYN or one with bytes in it, that leaves most of a round trip behind the first
one of the one before. With ``tls`` under TLS, whoever the server is. Writes an object in JSON: for ``up`` and
``down`` the round trips of each file.
"""

import json
import socket
import struct
import sys
import threading
import time
from pathlib import Path

import trio

from pooler.ftp.connector import FtpConnector
from pooler.ftp.profile import Profile
from pooler.ftp.session import FtpSession
from pooler.model.job import Direction, Options, Origin
from pooler.storage.pipe import Pipes
from pooler.storage.root import LocalRoot
from pooler.transfer.attempt import Attempt
from pooler.transfer.download import download
from pooler.transfer.names import Author
from pooler.transfer.plan import Plan
from pooler.transfer.upload import upload

FILES = 4
SHARE = 0.75
_ALL, _TCP, _SYN = 0x0003, 6, 0x02  # outgoing packets are shown to those alone who want all


class Capture:
    """The packets that leave, from when it is made."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ALL))
        self._sent: list[float] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            packet, (_, _, kind, *_) = self._socket.recvfrom(1 << 16)
            if kind == socket.PACKET_OUTGOING and _says_something(packet):
                self._sent.append(time.monotonic())

    def rounds(self, begin: float, end: float, round_trip_s: float) -> int:
        """Count the round trips that began between two times of ``time.monotonic()``."""
        count, began = 0, -1.0
        for sent in self._sent:
            if begin <= sent <= end and sent - began >= SHARE * round_trip_s:
                count, began = count + 1, sent
        return count


def _says_something(packet: bytes) -> bool:
    """Whether it is a SYN or has bytes in it: not an acknowledgement, and not the end alone."""
    header = (packet[0] & 0x0F) * 4
    if packet[0] >> 4 != 4 or packet[9] != _TCP:
        return False
    size = struct.unpack_from("!H", packet, 2)[0]
    offset, flags = packet[header + 12] >> 4, packet[header + 13]
    return bool(flags & _SYN) or size > header + offset * 4


async def copy(session: FtpSession, folder: Path, direction: Direction, number: int, pipes: Pipes) -> None:
    """Copy ``f`` once."""
    attempt = Attempt(
        plan=Plan(direction, "site", f"/{number}", "disk", ("f",), Options()),
        session=session,
        root=LocalRoot("disk", folder),
        author=Author("count", Origin("t", 0, 0), number),
        buffer=memoryview(bytearray(1 << 16)),
        moved=lambda _: None,
        left_behind=lambda _: None,
        resume_above_bytes=1 << 20,
        pipes=pipes,
        asks_along=True,
        more_waits=lambda: True,
    )
    done = await (download if direction is Direction.DOWNLOAD else upload)(attempt)
    if done.part is not None:
        done.part.publish()
        done.part.settle()


async def count(profile: Profile, folder: Path, round_trip_s: float) -> dict[str, list[int]]:
    """Copy up, then down, on one session."""
    (folder / "f").write_bytes(b"small")
    capture, counted, pipes = Capture(), dict[str, list[int]](), Pipes()
    session = await FtpConnector(profile).connect()
    for name, direction in (("up", Direction.UPLOAD), ("down", Direction.DOWNLOAD)):
        for number in range(FILES):
            await trio.sleep(
                round_trip_s
            )  # so that the end of one file is told from the beginning of another
            begin = time.monotonic()
            await copy(session, folder, direction, number, pipes)
            counted.setdefault(name, []).append(capture.rounds(begin, time.monotonic(), round_trip_s))
    await session.aclose()
    pipes.close()
    return counted


def main() -> None:
    host, port, user, password, folder, round_trip, *tls = sys.argv[1:]
    profile = Profile(
        host=host,
        port=int(port),
        user=user,
        password=lambda: password,
        tls="explicit" if tls else "none",
        verify_certificate=False,
    )
    json.dump(trio.run(count, profile, Path(folder), float(round_trip)), sys.stdout)


if __name__ == "__main__":
    main()
