"""Runs the steering of this process on the control topic."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
import trio

from pooler.bus.control import open_control
from pooler.config.settings import KafkaSettings
from pooler.flow.steering import Steering

log = structlog.get_logger(__name__)

_LEAVE_S = 2.0
_SAY_SO_S = 10.0


@asynccontextmanager
async def steered(settings: KafkaSettings, steering: Steering | None) -> AsyncIterator[None]:
    """Have a process steered for as long as the block lasts; it begins once the topic has been read.

    Args:
        settings: where the topic is.
        steering: listens and speaks; None where each process is for itself.

    Raises:
        BusError: no broker answers or lets us in; in a group.
        ConfigError: the topic is missing, or not as it should be; in a group.

    Cancellation: the others are told that this process is gone, if that is to be had within two seconds.
    """
    if steering is None:
        yield
        return
    async with open_control(settings, steering, write_s=steering.me.terms.lease_s) as control:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(steering.run, control)
                await _read_whole(settings, steering)
                yield
                nursery.cancel_scope.cancel()
        finally:
            with trio.move_on_after(_LEAVE_S, shield=True):
                await steering.leave()


async def _read_whole(settings: KafkaSettings, steering: Steering) -> None:
    while not steering.ready.is_set():
        with trio.move_on_after(_SAY_SO_S):
            await steering.ready.wait()
            return
        log.warning("control_topic_unread", topic=settings.control_topic_name)
