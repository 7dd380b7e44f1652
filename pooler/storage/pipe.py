"""A pipe between a socket and a file: bytes pass from one to the other without a copy of ours.

They are moved by ``splice``: between socket and pipe in the loop, since neither waits, between pipe and file
in a thread, since disks do. So a thread is gone to no more often than with a buffer.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pooler.storage.held import Held

PIPE_BYTES = 1 << 20
REFUSED = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
"""What the kernel says where a file system cannot do it."""


class Pipe(Held):
    """A pipe; see `Pipes`.

    Attributes:
        reading: the descriptor of the end where bytes come out.
        writing: the one of the end where they go in.

    Raises:
        OSError: there is none to be had, or none large enough to be of use.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reading, self.writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            # All pipes of a user have a limit together (pipe-user-pages-soft): refused beyond it.
            fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        except BaseException:
            self._close()
            raise

    def let_go(self) -> None:
        """Close it with what is in it, once no call uses it. Never raises."""
        self.end(self._close)

    def _close(self) -> None:
        descriptors = self.reading, self.writing
        self.reading = self.writing = -1
        for descriptor in descriptors:
            if descriptor >= 0:
                with suppress(OSError):
                    os.close(descriptor)


class Pipes:
    """The pipe of one worker: made when first needed, used by one transfer after another."""

    def __init__(self) -> None:
        self._idle: Pipe | None = None

    @contextmanager
    def lent(self) -> Iterator[Pipe | None]:
        """Have an empty pipe for the block; None where there is none to be had.

        It is to be empty again at the end. After an error nobody knows what is in it, and it goes.
        """
        pipe, self._idle = self._idle, None
        if pipe is None:
            with suppress(OSError):
                pipe = Pipe()
        try:
            yield pipe
        except BaseException:
            if pipe is not None:
                pipe.let_go()
            raise
        self._idle = pipe

    def close(self) -> None:
        """Let go of it."""
        pipe, self._idle = self._idle, None
        if pipe is not None:
            pipe.let_go()
