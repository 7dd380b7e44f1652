"""A StatefulSet, as its controller keeps it: stable names, all at once up and down, one at a time anew.

``pods.Pod`` does what a kubelet does; the readiness of one pod is what lets the next one be replaced.
"""

from collections.abc import Iterator

import trio

from tests.rehearsal.manifest import NAME
from tests.rehearsal.pods import Place, Pod, addresses
from tests.rehearsal.releases import Release

_LOOK_S = 0.1
READY_WITHIN_S = 240.0


class NotReadyError(Exception):
    """A pod did not become ready; says which, and what was seen of it."""


class StatefulSet:
    """Keeps pods.

    Args:
        place: where.
        nursery: of the pods.

    Attributes:
        pods: those that are wanted, by ordinal.
        every: all that there ever were.
    """

    def __init__(self, place: Place, *, nursery: trio.Nursery) -> None:
        self.pods: dict[int, Pod] = {}
        self.every: list[Pod] = []
        self._place = place
        self._nursery = nursery
        self._addresses: Iterator[str] = addresses()

    @property
    def endpoints(self) -> list[Pod]:
        """Those behind the Service: who is ready."""
        return [pod for _, pod in sorted(self.pods.items()) if pod.ready]

    async def scale(self, replicas: int, release: Release) -> None:
        """Make pods, or let them go, all at once; return when all is as wanted, those that stay ready."""
        for ordinal in range(replicas):
            if ordinal not in self.pods:
                self._make(ordinal, release)
        going = [self.pods.pop(ordinal) for ordinal in sorted(self.pods) if ordinal >= replicas]
        for pod in going:
            pod.delete()
        for pod in going:
            await pod.gone.wait()
        for pod in list(self.pods.values()):
            await self.until_ready(pod)

    async def roll(self, release: Release, *, down_to: int = 0) -> None:
        """Replace pods, the last one first, each when the one before it is ready.

        Args:
            release: what they are to run.
            down_to: pods below this ordinal stay (``partition`` of a rolling update).
        """
        for ordinal in sorted(self.pods, reverse=True):
            if ordinal >= down_to and self.pods[ordinal].release is not release:
                self.pods[ordinal].delete()
                await self.pods[ordinal].gone.wait()
                await self.until_ready(self._make(ordinal, release))

    def replace(self, ordinal: int) -> Pod:
        """Give a pod up whose machine is lost, and make another of its name; return the new one."""
        return self._make(ordinal, self.pods[ordinal].release)

    async def until_ready(self, pod: Pod) -> None:
        """Wait until a pod is ready.

        Raises:
            NotReadyError: it is not, in time.
        """
        with trio.move_on_after(READY_WITHIN_S) as limit:
            while not pod.ready:  # noqa: ASYNC110 - nobody tells
                await trio.sleep(_LOOK_S)
        if limit.cancelled_caught:
            logs = [service.log.read_text(errors="replace")[-2000:] for service in pod.services]
            raise NotReadyError(f"{pod.name} is not ready after {READY_WITHIN_S:g} s: {pod.falls}\n{logs}")

    def _make(self, ordinal: int, release: Release) -> Pod:
        pod = Pod(f"{NAME}-{ordinal}", release, next(self._addresses), self._place)
        self.pods[ordinal] = pod
        self.every.append(pod)
        self._nursery.start_soon(pod.live)
        return pod
