"""How quick nothing can be that speaks FTP over a long link: round trips, and TCP's slow start.

A download: connect and RETR leave together, with the EPSV reply already there, and the first bytes are here
after two round trips. An upload: the connect is one, the last bytes' way there and the 226 another. With the
size check and the rename behind it there are two more. Either way a new data connection may send ten segments
first, and twice as much with each round trip.
"""

from collections.abc import Iterable

from benchmarks.field import Way

_FIRST_SEGMENTS = 10
_HEADERS_BYTES = 52  # IPv4, and TCP with time stamps


def slow_start_rounds(size: int, mtu: int) -> int:
    """Tell in how many flights a file goes over a new connection."""
    flight, sent, rounds = _FIRST_SEGMENTS * (mtu - _HEADERS_BYTES), 0, 0
    while sent < size:
        sent, flight, rounds = sent + flight, 2 * flight, rounds + 1
    return max(1, rounds)


def round_trips(size: int, mtu: int, way: Way, *, safe: bool) -> int:
    """Tell how many round trips a file takes at least.

    Args:
        size: its bytes.
        mtu: the largest packet.
        way: to us, or from us.
        safe: whether an upload's size is looked at and it is renamed.
    """
    return slow_start_rounds(size, mtu) + 1 + (2 if safe and way == "up" else 0)


def files_per_s(
    sizes: Iterable[int], mtu: int, way: Way, round_trip_s: float, sessions: int, *, safe: bool
) -> float:
    """Tell how many files a second so many sessions can move at the very most."""
    trips = [round_trips(size, mtu, way, safe=safe) for size in sizes]
    return sessions * len(trips) / (sum(trips) * round_trip_s)
