"""What Ctrl-C means to a command that has nothing to drain."""

import signal

import anyio
import trio


async def end_at_signal(
    everything: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Cancel at SIGTERM or SIGINT.

    Args:
        everything: what is cancelled.
        task_status: started once signals are heard.
    """
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        task_status.started()
        async for _ in received:
            everything.cancel()
