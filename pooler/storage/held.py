"""Something open that a call may still be using, in a thread that nobody waits for any more.

A call into a mount that stalls cannot be cancelled, only left alone; some day it goes on. By then its
descriptor must not be somebody else's: so what is open is let go of by whoever uses it last.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Held:
    """What is let go of once, and not while it is in use. Its methods may be called in any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._ending: Callable[[], None] | None = None

    @property
    def unwanted(self) -> bool:
        """Whether it is to be let go of as soon as nobody uses it."""
        return self._ending is not None

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Use it: until the end of the block it is not let go of, but right after, if asked for meanwhile."""
        with self._lock:
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                ending = None
                if not self._users:
                    ending, self._ending = self._ending, None
            if ending is not None:
                ending()

    def end(self, ending: Callable[[], None]) -> None:
        """Let go of it by ``ending``, now or once nobody uses it; the first word holds. May block."""
        with self._lock:
            if self._users:
                self._ending = self._ending or ending
                return
        ending()

    def let_go(self) -> None:
        """Let go of what a call has opened for somebody who does not wait for it any more. Blocks."""
        raise NotImplementedError
