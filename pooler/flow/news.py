"""What a pod tells the others of its remotes."""

from collections.abc import Mapping

from pooler.flow.group import Tally
from pooler.flow.remote import Remote
from pooler.model.control import RemoteNews


class Reporter:
    """Tells what goes on, and how much was moved since it did so last.

    Args:
        remotes: of this pod, by name.
    """

    def __init__(self, remotes: Mapping[str, Remote]) -> None:
        self._remotes = remotes
        self._before: dict[str, Tally] = {}
        self._told_at: float | None = None

    def report(self, now: float) -> dict[str, RemoteNews]:
        """Tell of the remotes on which something goes on.

        Args:
            now: the time, in seconds.
        """
        seconds = 0.0 if self._told_at is None else now - self._told_at
        self._told_at = now
        return {
            name: news
            for name, remote in self._remotes.items()
            if _is_news(news := self._tell(remote, now, seconds))
        }

    def _tell(self, remote: Remote, now: float, seconds: float) -> RemoteNews:
        tally = remote.tally
        before = self._before.get(remote.name, Tally())
        self._before[remote.name] = Tally(tally.files, tally.size_bytes, tally.reply_s)
        per_s = 1 / seconds if seconds else 0.0
        return RemoteNews(
            state=remote.breaker.state.value,
            paused=remote.paused,
            busy=sum(worker.work is not None for worker in remote.workers),
            idle=remote.idle,
            opening=remote.opening,
            limit=min(remote.most, remote.group.limit.current(now)),
            waiting=remote.waiting + remote.room.lane.waiting,
            files_per_s=round((tally.files - before.files) * per_s, 3),
            bytes_per_s=round((tally.size_bytes - before.size_bytes) * per_s),
        )


def _is_news(news: RemoteNews) -> bool:
    at_work = news.busy or news.idle or news.opening or news.waiting or news.bytes_per_s
    return bool(at_work or news.paused or news.state != "closed")
