"""A folder of many files is spread by visits: no file twice, none left out, and few names held at a time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pooler.model.batch import Filters
from pooler.transfer.plan import SpreadPlan
from pooler.transfer.session import Entry, EntryKind
from pooler.transfer.spread import Smallest, find

COUNT, ROOM = 100_000, 2_000


class Listed:
    """A folder whose entries are made as they are listed, in another order each time.

    Attributes:
        alive: entries that somebody holds, at this moment.
        most: the most of them at any time.
        listings: how often it was listed.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self.alive = self.most = self.listings = 0

    @asynccontextmanager
    async def listing(self) -> AsyncIterator[AsyncIterator[Entry]]:
        self.listings += 1
        yield self._entries()

    async def keep_alive(self) -> None:
        raise AssertionError("nothing waits here")

    async def _entries(self) -> AsyncIterator[Entry]:
        for place in range(self._count):
            self.alive += 1
            self.most = max(self.most, self.alive)
            # Neither number has a factor in common with a count that is a power of ten: each comes once.
            number = (place * 7_919 + self.listings * 31) % self._count
            yield Counted(self, f"{number:06}.csv")


class Counted(Entry):
    """An entry that tells its folder when nobody holds it any more."""

    def __init__(self, folder: Listed, name: str) -> None:
        super().__init__(name, EntryKind.FILE, 7)
        object.__setattr__(self, "_folder", folder)

    def __del__(self) -> None:
        self._folder.alive -= 1  # type: ignore[attr-defined] # as it is made


@pytest.mark.parametrize("behind", ["", "049999.csv", "097999.csv"])
async def test_a_hundred_thousand_files_and_no_more_in_hand_than_two_visits_take(behind: str) -> None:
    folder = Listed(COUNT)
    found = await find(folder, SpreadPlan("*.csv", behind, ROOM), Filters())
    first = int(behind.partition(".")[0] or -1) + 1
    assert [name for name, _ in found.files] == [f"{number:06}.csv" for number in range(first, first + ROOM)]
    assert found.more == (first + ROOM < COUNT)
    # Twice the room before it is cut down, and the one that is looked at, by each that looks.
    assert folder.most <= 2 * ROOM + 5


async def test_visit_by_visit_there_is_every_file_once() -> None:
    folder = Listed(1_000)
    wanted, more, names = SpreadPlan("*.csv", room=99), True, []
    while more:
        found = await find(folder, wanted, Filters())
        names += [name for name, _ in found.files]
        wanted, more = wanted._replace(cursor=found.cursor), found.more
    assert names == [f"{number:06}.csv" for number in range(1_000)]
    assert folder.listings == 11


def test_the_smallest_of_any_order() -> None:
    kept: Smallest[int] = Smallest(3, "b")
    for name in "hgfedcba":
        kept.add(name, ord(name))
    assert (kept.names(), kept.more) == (["c", "d", "e"], True)
    assert kept.items() == {"c": 99, "d": 100, "e": 101}
