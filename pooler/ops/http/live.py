"""``/v1/live``: all that the page shows, as server-sent events (HTML Standard §9.2).

Each event is the whole picture. So there is no queue, no matter how many read or how slowly: whoever has
taken one event gets the newest next, and whoever comes back has missed nothing. It is put into words once for
all readers, once a second; more seldom where there are so many readers, or so much to tell, that it would
take more of the processor than a small share.
"""

import datetime as dt
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import trio
from pydantic import TypeAdapter
from quart import Blueprint, Response, current_app, request
from quart_schema import hide
from werkzeug.exceptions import ServiceUnavailable

from pooler.ops.http.auth import Guard, Scope
from pooler.ops.http.part import PART, Part, part
from pooler.ops.http.picture import LivePod, Pace, Picture, drawn, live_pod, pace
from pooler.ops.http.service import Service

if TYPE_CHECKING:
    from quart_trio import QuartTrio

PERIOD_S: Final = 1.0
"""From one event to the next, at least."""

LASTS_S: Final = 900.0
"""How long a stream lasts; `server` does not bear much longer with a client that says nothing. To begin one
takes as much as ten events."""

MOST_READERS: Final = 1000
"""Of one pod; one more is answered 503."""

OTHERS_S: Final = 5.0
"""How often other pods are asked, while somebody reads."""

KEEP_S: Final = 15.0
"""How long what a pod has told is shown."""

# Shares of the processor: what goes into putting it into words, and into sending it to all readers together.
_MOST_TO_TELL: Final = 0.005
_MOST_TO_SEND: Final = 0.005
# What it takes to send an event: measured on one machine, by benchmarks.readers.
_SENDING_S: Final = 0.000_35
_SENDING_A_BYTE_S: Final = 1.25e-9
_LONGEST_PERIOD_S: Final = 10.0
_LONGEST_SILENCE_S: Final = 50.0  # many a proxy ends what says nothing for a minute
_LOOKS: Final = 3


@dataclass(frozen=True, slots=True)
class _Told:
    """What a pod has told last."""

    part: Part
    at: float
    pace: Pace


class _Others:
    """What other pods have told, asked for while somebody reads."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._told: dict[str, _Told] = {}
        self._since = float("inf")
        self._came = trio.Event()
        self.silent: tuple[str, ...] = ()
        self.readers = 0

    def came(self) -> None:
        """Count a reader in."""
        self.readers += 1
        self._came.set()

    async def follow(self) -> None:
        """Ask again and again, until cancelled."""
        while True:
            if not self.readers:
                self._came = trio.Event()
                await self._came.wait()
                self._since = trio.current_time()
            await self._ask()
            await trio.sleep(OTHERS_S)

    async def _ask(self) -> None:
        theirs = await PART.elsewhere(self._service, {})
        now = trio.current_time()
        for pod, told in theirs.answers.items():
            known = self._told.get(pod)
            self._told[pod] = _Told(told, now, pace(None if known is None else known.part, told))
        # One that has answered of late may have missed this once.
        self.silent = tuple(pod for pod in theirs.silent if pod not in self.told(now))

    def is_mute(self, pod: str, now: float) -> bool:
        """Tell whether a pod has been asked for long enough, and does not answer."""
        return pod in self.silent or (pod not in self.told(now) and now - self._since > KEEP_S)

    def told(self, now: float) -> dict[str, _Told]:
        """Give what is not too old."""
        self._told = {pod: told for pod, told in self._told.items() if now - told.at <= KEEP_S}
        return self._told


_ADAPTER: Final = TypeAdapter(Picture)


class _Teller:
    """Puts the picture into words, once for all who ask within a period."""

    def __init__(self, service: Service, others: _Others) -> None:
        self._service = service
        self._others = others
        self._ours: _Told | None = None
        self._told_at = float("-inf")
        self._event = b""
        self._took_s: deque[float] = deque(maxlen=_LOOKS)

    @property
    def every_s(self) -> float:
        """How long it is from one event to the next."""
        to_tell_s = min(self._took_s, default=0.0) / _MOST_TO_TELL
        sending_s = self._others.readers * (_SENDING_S + _SENDING_A_BYTE_S * len(self._event))
        return max(
            PERIOD_S, min(to_tell_s, _LONGEST_PERIOD_S), min(sending_s / _MOST_TO_SEND, _LONGEST_SILENCE_S)
        )

    def event(self) -> bytes:
        """Give the newest event."""
        now = trio.current_time()
        # A little early counts: readers that began one after the other share an event all the same. And who
        # gets one seldom may get one that is not quite new.
        if now >= self._told_at + max(0.9 * PERIOD_S, 0.1 * self.every_s):
            began_s = time.thread_time()
            self._event = b"data: " + _ADAPTER.dump_json(self._draw(now)) + b"\n\n"
            self._told_at = now
            self._took_s.append(time.thread_time() - began_s)
        return self._event

    def _draw(self, now: float) -> Picture:
        service = self._service
        told = part(service)
        before = None if self._ours is None or now - self._ours.at > KEEP_S else self._ours.part
        self._ours = _Told(told, now, pace(before, told))
        theirs = self._others.told(now)
        deployment = service.deployment()
        pods = {service.pod: LivePod(service.pod, me=True, silent=False, heard_s=0.0)}
        for pod in sorted(deployment.pods, key=lambda pod: pod.heard_s, reverse=True):
            if pod.pod != service.pod:  # of one that has begun anew, what was heard last
                silent = pod.silent or self._others.is_mute(pod.pod, now)
                pods[pod.pod] = LivePod(pod.pod, me=False, silent=silent, heard_s=pod.heard_s)
        parts = {service.pod: self._ours} | {pod: theirs[pod] for pod in sorted(theirs) if pod in pods}
        return drawn(
            dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
            round(self.every_s, 3),
            [_pod(known, parts.get(name)) for name, known in sorted(pods.items())],
            {name: told.part for name, told in parts.items()},
            {remote.name: remote.host for remote in service.remotes()},
            known_of_each_other=deployment.together,
        )


def _pod(known: LivePod, told: _Told | None) -> LivePod:
    return known if told is None else live_pod(known, told.part, told.pace)


def live(service: Service, guard: Guard, closing: trio.Event) -> Blueprint:
    """Make the route.

    Args:
        service: the running service.
        guard: tells whether the caller may.
        closing: set when the server stops: every stream ends.
    """
    routes = Blueprint("live", __name__, url_prefix="/v1")
    others = _Others(service)
    teller = _Teller(service, others)
    asking = trio.CancelScope()

    async def follow() -> None:
        with asking:
            await others.follow()

    @routes.before_app_serving
    async def begin() -> None:
        cast("QuartTrio", current_app).nursery.start_soon(follow)

    @routes.after_app_serving
    async def end() -> None:
        asking.cancel()

    async def events() -> AsyncIterator[bytes]:
        others.came()
        ends_at, tokens = trio.current_time() + LASTS_S, guard.tokens
        try:
            yield b"retry: 100\n\n"
            while not closing.is_set() and guard.tokens is tokens and trio.current_time() < ends_at:
                yield teller.event()
                with trio.move_on_after(teller.every_s):
                    await closing.wait()
        finally:
            others.readers -= 1

    @routes.get("/live")
    @hide
    async def stream() -> Response:
        guard.admit(request, Scope.READ)
        if others.readers >= MOST_READERS:
            raise ServiceUnavailable(f"{MOST_READERS} others are reading this already.")
        response = Response(events(), content_type="text/event-stream")
        response.headers["Cache-Control"] = "no-store"
        response.timeout = None  # the stream has an end of its own
        return response

    return routes
