"""What a peer is: a name, and a way to copy files that tells how long it took."""

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.field import Field, Way, WrongCopyError

_WITHIN_S = 600.0
Copy = Callable[[Field, Way, Sequence[str]], float]


@dataclass(frozen=True, slots=True)
class Peer:
    """One client, in the mode that is best for it.

    Attributes:
        name: as in the tables.
        copy: copies some files of a field, and returns the seconds that it took.
        share: which part of the files it gets; those that are many times slower than the rest get the first
            few of them only, and a rate is a rate.
        starts_slowly: whether its start is worth a measurement of its own, as that of an interpreter is.
        tls: whether it can resume the TLS session of its control connection, as vsftpd demands.
    """

    name: str
    copy: Copy
    share: float = 1.0
    starts_slowly: bool = True
    tls: bool = True

    def part(self, names: Sequence[str]) -> Sequence[str]:
        """Choose the files that it gets."""
        return names[: max(1, round(len(names) * self.share))]


def timed(field: Field, words: Sequence[str]) -> float:
    """Run a program where clients are; return how long it took, its start and its end included.

    Raises:
        WrongCopyError: it says itself that it failed.
    """
    began = time.perf_counter()
    try:
        done = subprocess.run(
            field.command(words), check=False, capture_output=True, text=True, timeout=_WITHIN_S
        )
    except subprocess.TimeoutExpired:
        raise WrongCopyError(f"{words[0]} took more than {_WITHIN_S:g} s") from None
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        raise WrongCopyError(
            f"{words[0]} ended with {done.returncode}: {(done.stderr or done.stdout)[-500:]}"
        )
    return seconds
