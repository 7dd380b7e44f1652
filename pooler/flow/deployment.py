"""What is known of the whole deployment: what stands on the control topic, as one pod has read it. Pure.

Nothing here grows without bounds: of what is said of remotes that are not configured, and may be tomorrow,
not more than so much is kept, and neither is more than a few logins of each remote, nor a pod that has been
silent for long.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from pooler.model.control import Gone, Knob, Login, Mode, News, PodNews, Setting, Trial

_MISSED = 3.5
"""Announcements that a pod may miss before it counts as silent."""
_LOGINS = 8
_PODS = 2_000
_SETTINGS, _REMOTES = 5_000, 1_000


@dataclass(frozen=True, slots=True)
class Pod:
    """What was heard of a pod.

    Attributes:
        news: its newest announcement.
        heard_at: when that was read, in the caller's clock.
    """

    news: PodNews
    heard_at: float

    def is_silent(self, now: float) -> bool:
        """Tell whether it has missed some announcements."""
        return now - self.heard_at > _MISSED * max(self.news.every_s, 1.0)


class Deployment:
    """The newest record of each key.

    Args:
        remotes: the names of those that are configured.

    Attributes:
        remotes: the names of those that are configured.
        pods: by incarnation.
    """

    def __init__(self, remotes: Collection[str]) -> None:
        self.pods: dict[str, Pod] = {}
        self.remotes = tuple(remotes)
        self._settings: dict[tuple[str, Knob], Setting] = {}
        self._logins: dict[str, dict[str, Login]] = {}

    def hear(self, news: News | Gone, now: float) -> None:
        """Take in a record."""
        match news:
            case Setting():
                if news.remote in self.remotes or len(self._settings) < _SETTINGS:
                    self._settings[news.remote, news.knob] = news
            case Login():
                if news.remote in self.remotes or len(self._logins) < _REMOTES:
                    self._hear_login(news, now)
            case PodNews():
                if news.incarnation in self.pods or len(self.pods) < _PODS:
                    self.pods[news.incarnation] = Pod(news, now)
            case Gone("remote", (remote, knob)):
                self._settings.pop((remote, Knob(knob)), None)
            case Gone("login", (remote, digest)):
                self._take_back(remote, digest)
            case Gone("pod", (incarnation,)):
                self.pods.pop(incarnation, None)

    def setting(self, remote: str, knob: Knob) -> Setting | None:
        """Tell what operators want of a remote; None where nobody has said anything."""
        return self._settings.get((remote, knob))

    def number(self, remote: str, knob: Knob) -> int | None:
        """Tell a setting that is a number."""
        setting = self.setting(remote, knob)
        return setting.value if setting is not None and isinstance(setting.value, int) else None

    def mode(self, remote: str) -> Mode:
        """Tell whether jobs of a remote are to be begun."""
        setting = self.setting(remote, Knob.WORK)
        return setting.value if setting is not None and isinstance(setting.value, Mode) else Mode.RUN

    def login(self, remote: str, digest: str, now: float) -> Login | None:
        """Tell what is known of a secret; None where nothing is, or where who was trying it is silent."""
        login = self._logins.get(remote, {}).get(digest)
        if login is not None and login.trial is Trial.TRIED:
            pod = self.pods.get(login.by)
            return None if pod is None or pod.is_silent(now) else login
        return login

    def refusals(self, remote: str) -> list[Login]:
        """Tell which logins were refused."""
        return [login for login in self._logins.get(remote, {}).values() if login.trial is Trial.REFUSED]

    def _take_back(self, remote: str, digest: str) -> None:
        """Forget what was said of a secret; that it is right is as true as before."""
        logins = self._logins.get(remote, {})
        if digest in logins and logins[digest].trial is not Trial.TAKEN:
            del logins[digest]

    def forgotten(self, now: float, after_s: float) -> Iterator[str]:
        """Tell which pods have been silent for so long that their records are only in the way."""
        return (name for name, pod in self.pods.items() if now - pod.heard_at > after_s)

    def _hear_login(self, login: Login, now: float) -> None:
        known = self.login(login.remote, login.digest, now)
        if login.trial is Trial.TRIED and known is not None:
            return  # the first who said so tries it; and what has come of it is known
        logins = self._logins.setdefault(login.remote, {})
        logins.pop(login.digest, None)
        logins[login.digest] = login
        while len(logins) > _LOGINS:
            del logins[next(iter(logins))]
