"""Whether the brokers let us in, and how our topics are set up, for who asks without running the service."""

from aiokafka.errors import KafkaError

from pooler.bus import clients
from pooler.bus.loops import open_loop
from pooler.bus.topics import Finding, examine_topics
from pooler.config.settings import KafkaSettings
from pooler.errors import BusError


async def examine(settings: KafkaSettings, deadline_s: float) -> list[Finding]:
    """Ask the brokers about our topics.

    Args:
        settings: where the brokers are, and the topics; with ``topic_checks: off`` nobody asks about these.
        deadline_s: how long after its first reading a job may still be tried, in seconds.

    Raises:
        BusError: no broker answers, or they do not tell; in a group.
    """
    async with open_loop():
        findings: list[Finding] = await clients.on_asyncio(_examine, settings, deadline_s)
        return findings


async def _examine(settings: KafkaSettings, deadline_s: float) -> list[Finding]:
    await clients.reach(settings)
    if settings.topic_checks == "off":
        return []
    try:
        return await examine_topics(settings, deadline_s)
    except (KafkaError, TimeoutError) as error:
        raise BusError(f"the brokers do not tell how the topics are set up: {error!r}") from error
