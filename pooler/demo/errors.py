"""What can go wrong in a demo besides the service."""

from pooler.errors import PoolerError


class DemoFailed(PoolerError):
    """The demo could not be shown: something of its own did not come up, or the service stood still."""
