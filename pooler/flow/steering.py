"""Steers this pod by what stands on the control topic, and says there what goes on here.

What operators want of a remote reaches it from the topic alone, so that all pods do the same, and so does
one that starts tomorrow. The sessions that all pods may have together are shared out by
`pooler.flow.shares`.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol

import structlog
import trio

from pooler.errors import BusError
from pooler.flow.commons import Common, Totals, commons
from pooler.flow.deployment import Deployment
from pooler.flow.group import LimitGroup
from pooler.flow.helm import Helm
from pooler.flow.inquiries import Inquiries
from pooler.flow.news import Reporter
from pooler.flow.remote import Remote
from pooler.flow.shares import Need, Shares, Terms
from pooler.flow.steersman import Steersman
from pooler.model.control import Ask, Claim, Gone, Knob, Login, Mode, News, PodNews, Setting, Tell

log = structlog.get_logger(__name__)

_TICK_S = 0.25
"""How often it looks whether the others should know something; and how long a session counts after its
end."""
_TURN_S = 60
_READ_BACK_S = 2.0
_FORGET_AFTER_S = 600.0


class Pen(Protocol):
    """What writes to the control topic."""

    async def write(self, news: News | Gone) -> None:
        """Write a record, and wait until the brokers have it.

        Raises:
            BusError: that is not known.
        """
        ...


@dataclass(frozen=True, slots=True)
class Me:
    """What a pod says of itself at all times.

    Attributes:
        pod: its name.
        version: of the program.
        every_s: how often it says so, in seconds.
        terms: how long what it holds is its own.
    """

    pod: str
    version: str
    every_s: float
    terms: Terms


class Steering(Steersman):
    """Listens to the control topic (`pooler.bus.control.Listener`), and writes this pod's news.

    Args:
        me: who we are.
        totals: what the configuration allows all pods together, by the name of each remote.

    Attributes:
        me: who we are.
        ready: set once all that stood in the topic at the start has been read.
        incarnation: the name of our life on the topic; empty while there is none.
        inquiries: what is asked of all pods, and by them.
    """

    def __init__(self, me: Me, totals: Mapping[str, Totals]) -> None:
        super().__init__(totals)
        self.ready = trio.Event()
        self.incarnation = ""
        self.me = me
        self.inquiries = Inquiries(me.pod)
        self._commons: Sequence[Common] = ()
        self._groups: Mapping[str, LimitGroup] = {}
        self._remotes: Mapping[str, Remote] = {}
        self._helm = Helm({})
        self._reporter = Reporter({})
        self._pen: Pen | None = None
        self._heard = trio.Event()
        self._start_anew("")

    def attach(self, groups: Mapping[str, LimitGroup], remotes: Mapping[str, Remote]) -> None:
        """Steer these from now on.

        Args:
            groups: the limits of the remotes, by a name that all pods give them.
            remotes: by name.
        """
        self._groups, self._remotes = groups, remotes
        self._commons = tuple(commons(groups, remotes, self.totals))
        self._helm, self._reporter = Helm(remotes), Reporter(remotes)
        self._obey(*remotes)
        self._share_out()

    def _start_anew(self, incarnation: str) -> None:
        self.incarnation = incarnation
        self._shares = Shares(incarnation, self.me.terms)
        self._losses = 0
        self._caught_up = False
        self._serial = 0
        self._said: Mapping[str, Claim] = {}
        self._next_at = 0.0
        self._share_out()
        self._stir()

    # ---- the listener ---------------------------------------------------------------------------------

    def begin(self, incarnation: str) -> None:
        """Forget what was read: it is read again from the beginning, under a new name."""
        self.deployment = Deployment(self.totals)
        self._start_anew(incarnation)

    def end(self) -> None:
        """Know that nothing more is heard: what is shared is not ours any more."""
        self._start_anew("")
        self._break_off()

    def hear(self, news: News | Gone, now: float) -> None:
        """Take in one record."""
        self.deployment.hear(news, now)
        match news:
            case PodNews() if news.incarnation == self.incarnation:
                self._shares.read_back(news.serial, now)
                self._catch_up()
            case PodNews():
                self._shares.heard(news.incarnation, news.serial, news.claims, now)
            case Gone("pod", (incarnation,)) if incarnation == self.incarnation:
                self._shares.forfeit()
                self._next_at = 0.0
            case Gone("pod", (incarnation,)):
                self._shares.gone(incarnation)
            case Ask() | Tell() | Gone("ask" | "tell", _):
                self.inquiries.hear(news, self.incarnation, now, live=self._caught_up)
                return
            case Setting(remote=name) | Gone("remote", (name, _)) if self._caught_up:
                self._obey(name)
                if isinstance(news, Setting) and news.knob is Knob.BREAKER and name in self._remotes:
                    self._remotes[name].try_again()
        self._share_out()
        self._stir()

    def _catch_up(self) -> None:
        """Know that all is read that stood before our first record."""
        if not self._caught_up:
            self._caught_up = True
            self._obey(*self._remotes)
            log.info("control_topic_read", incarnation=self.incarnation, pods=len(self.deployment.pods))
            self.ready.set()

    def _stir(self) -> None:
        self._heard.set()
        self._heard = trio.Event()

    # ---- what runs ------------------------------------------------------------------------------------

    async def run(self, pen: Pen) -> None:
        """Announce this pod, and keep to its lease, until cancelled.

        Args:
            pen: what writes it.
        """
        self._pen = pen
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_to_lease)
            nursery.start_soon(self.inquiries.run, lambda: self.incarnation, self.write)
            while True:
                while not self.incarnation:
                    await self._heard.wait()
                await self._announce()
                await trio.sleep(_TICK_S)

    async def leave(self) -> None:
        """Say that this pod is gone: once ``run`` has ended, and no session is left."""
        if self.incarnation:
            try:
                await self.write(Gone("pod", (self.incarnation,)))
            except BusError as error:
                log.warning("announcement_failed", error=str(error))

    async def want(
        self, remote: str, knob: Knob, value: Mode | int | None, *, by: str, why: str = ""
    ) -> None:
        """Have something hold for all pods: returns once it is written, and read back if that is soon.

        Args:
            remote: its section of connections.ini.
            knob: what is to be set.
            value: what to; None to leave it to the configuration again.
            by: who wants it.
            why: in their words.

        Raises:
            BusError: it is not known to be written.

        Cancellation: whether it is written is not known.
        """
        setting = None if value is None else Setting(remote, knob, value, by, time.time(), why)
        await self.write(setting or Gone("remote", (remote, knob)))
        with trio.move_on_after(_READ_BACK_S):
            while self.deployment.setting(remote, knob) != setting:
                await self._heard.wait()

    async def forgive(self, remote: str, *, by: str, why: str = "") -> None:
        """Have all pods try a remote at once, whatever is known against it, refused logins too.

        Raises:
            BusError: it is not known to be written.

        Cancellation: whether it is written is not known.
        """
        for login in self.deployment.refusals(remote):
            await self.write(Gone("login", (remote, login.digest)))
        await self.want(remote, Knob.BREAKER, int(time.time()), by=by, why=why)

    async def ask(
        self, what: str, query: Mapping[str, Any], within_s: float
    ) -> tuple[dict[str, Tell], tuple[str, ...]]:
        """Ask all other pods something.

        Args:
            what: out of a list that all know.
            query: what else there is to say of it.
            within_s: how long they are waited for, in seconds.

        Returns:
            What was told, by incarnation; and the names of the pods that have said nothing.

        Raises:
            BusError: the question is not known to be written.

        Cancellation: who does what it was asked for is not known.
        """
        now = trio.current_time()
        others = {name: pod for name, pod in self.deployment.pods.items() if name != self.incarnation}
        heard = {name for name, pod in others.items() if not pod.is_silent(now)}
        told = await self.inquiries.ask(
            what, query, by=self.incarnation, whom=heard, within_s=within_s, write=self.write
        )
        # A pod that has begun anew under its own name is not silent: it has another incarnation.
        speak = {others[name].news.pod for name in heard & told.keys()} | {self.me.pod}
        return told, tuple(sorted({pod.news.pod for pod in others.values()} - speak))

    # ---- the book of logins ---------------------------------------------------------------------------

    @property
    def pod(self) -> str:
        """Our name."""
        return self.me.pod

    def login(self, remote: str, digest: str) -> Login | None:
        """Tell what is known of a secret; None where nothing is, or where who was trying it is silent."""
        return self.deployment.login(remote, digest, trio.current_time())

    async def changed(self) -> None:
        """Wait until something is heard."""
        await self._heard.wait()

    async def write(self, news: News | Gone) -> None:
        """Write to the control topic.

        Raises:
            BusError: it is not known to be written.
        """
        if self._pen is None:
            raise BusError("the control topic is not open yet")
        await self._pen.write(news)

    # ---- announcing -----------------------------------------------------------------------------------

    async def _announce(self) -> None:
        now = trio.current_time()
        claims = self._shares.plan(self._needs(), now, int(time.time() // _TURN_S))
        self._share_out()
        due = now >= self._next_at
        if self._shares.waiting or not (due or self._is_news(claims)):
            return
        self._serial += 1
        self._next_at = now + self.me.every_s
        self._said = claims
        self._shares.send(self._serial, claims, now)
        self._share_out()
        news = PodNews(
            incarnation=self.incarnation,
            pod=self.me.pod,
            serial=self._serial,
            at=time.time(),
            version=self.me.version,
            every_s=self.me.every_s,
            claims=claims,
            remotes=self._reporter.report(now),
        )
        try:
            await self.write(news)
            if due:
                await self._forget_the_silent(now)
        except BusError as error:
            log.warning("announcement_failed", error=str(error))

    def _needs(self) -> dict[str, Need]:
        """Tell what we have and want; before we know what others have, we want nothing."""
        now = trio.current_time()
        needs = {
            common.key: common.need(now)
            for common in self._commons
            if common.total(self.deployment) is not None
        }
        return needs if self._caught_up else {key: need._replace(wants=0) for key, need in needs.items()}

    def _is_news(self, claims: Mapping[str, Claim]) -> bool:
        """Tell whether the others should know before it is time."""
        return claims.keys() != self._said.keys() or any(
            claim._replace(wants=0) != said._replace(wants=0)
            or (claim.wants == 0) != (said.wants == 0)
            or claim.wants > max(said.wants, claim.holds)
            for claim, said in ((claim, self._said[key]) for key, claim in claims.items())
        )

    async def _keep_to_lease(self) -> None:
        """Let go when it runs out: nobody has heard us for too long, and others may take what is ours."""
        while True:
            heard = self._heard
            with trio.move_on_at(self._shares.until):
                await heard.wait()
            if self._shares.expire(trio.current_time()):
                self._share_out()

    async def _forget_the_silent(self, now: float) -> None:
        alive = [name for name, pod in self.deployment.pods.items() if not pod.is_silent(now)]
        if self.incarnation != min(alive, default=""):
            return  # one of us is enough
        for name in list(self.deployment.forgotten(now, _FORGET_AFTER_S + self.me.terms.gone_after_s)):
            log.info("pod_forgotten", pod=self.deployment.pods[name].news.pod, incarnation=name)
            await self.write(Gone("pod", (name,)))
        for gone in list(self.inquiries.litter(now)):
            await self.write(gone)

    # ---- what is done to the remotes ------------------------------------------------------------------

    def _obey(self, *names: str) -> None:
        self._helm.obey(self.deployment, names)

    def _share_out(self) -> None:
        """Let each remote have what is ours now of what all pods have together."""
        now = trio.current_time()
        for common in self._commons:
            total = common.total(self.deployment)
            if total is not None:
                self._shares.bound(common.key, total)
                common.give(self._shares.allowance(common.key, now), self._shares.until)
            elif self._caught_up:  # else a total may stand further on, and what was given before holds
                self._shares.unbound(common.key)
                common.give(None, inf)
        if self._losses != self._shares.losses:
            self._losses = self._shares.losses
            log.warning("shares_lost", held={key: said.holds for key, said in self._said.items()})
            self._break_off()

    def _break_off(self) -> None:
        for group in self._groups.values():
            if group.limit.share is not None:
                for member in group.members:
                    self._remotes[member.name].break_off()
