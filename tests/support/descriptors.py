"""How many files this process has open, to see that none is left open."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OURS = Path("/proc/self/fd")


def count() -> int:
    """Count the descriptors of this process."""
    return len(list(_OURS.iterdir()))


def path(descriptor: int) -> Path:
    """Tell what a descriptor was opened on, as it is called now."""
    return (_OURS / str(descriptor)).readlink()


@contextmanager
def none_left() -> Iterator[None]:
    """Fail where more, or fewer, descriptors are open at the end of the block than at its beginning."""
    before = count()
    yield
    assert count() == before, f"{before} descriptors became {count()}"
