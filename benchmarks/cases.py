"""What is compared: files, a server, the way to it, and who takes part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.peers.registry import BARE, OTHERS
from tests.support.servers import TlsVersion

_KIB = 1024


@dataclass(frozen=True, slots=True)
class Case:
    """One table for each way.

    Attributes:
        title: above it.
        peers: who takes part, by name.
        sizes: the least and the most bytes of a file.
        files: how many there are, at full size and with ``--quick``.
        round_trip_s: of the link, or nothing over loopback.
        mtu: of the link.
        tls: the version of TLS, if any.
    """

    title: str
    peers: Sequence[str]
    sizes: tuple[int, int] = (200 * _KIB, 800 * _KIB)
    files: tuple[int, int] = (2000, 400)
    round_trip_s: float = 0.0
    mtu: int = 1500
    tls: TlsVersion | None = None


_OURS = ("pooler copy",)
CASES: Mapping[str, Case] = {
    "loopback": Case(
        "Loopback, files of 200 to 800 KiB",
        (*BARE, *OTHERS, *_OURS, "pooler copy, batch flush", "service", "service, batch flush"),
    ),
    "tls13": Case(
        "Loopback under TLS 1.3, files of 200 to 800 KiB",
        (*OTHERS, *_OURS),
        files=(1000, 200),
        tls="TLSv1.3",
    ),
    "tls12": Case(
        "Loopback under TLS 1.2, files of 200 to 800 KiB",
        (*OTHERS, *_OURS),
        files=(1000, 200),
        tls="TLSv1.2",
    ),
    "far": Case(
        "40 ms of round trip at an MTU of 1500, files of 200 to 800 KiB",
        ("bare loop", *OTHERS, *_OURS),
        files=(240, 64),
        round_trip_s=0.04,
    ),
    "small": Case(
        "5 ms of round trip at an MTU of 1500, files of 10 kB",
        ("bare loop", *OTHERS, *_OURS),
        sizes=(10_000, 10_001),
        files=(1000, 300),
        round_trip_s=0.005,
    ),
}
