"""Who this process is among all that share the work, which the environment tells."""

import os
import socket


def worker_name() -> str:
    """Tell who we are, for results: the pod's name, else the host's."""
    return os.environ.get("POD_NAME") or socket.gethostname()
