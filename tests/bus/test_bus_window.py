"""How much may be in hand: of urgent jobs, and apart from them of all others."""

import pytest

from pooler.bus.ledger import Ledger
from pooler.bus.window import Window
from pooler.config.settings import KafkaSettings
from pooler.model.job import Origin

URGENT = "urgent-tasks"


class Rig:
    """A window of 40 records and 4,000 bytes, and what is read into it."""

    def __init__(self, priority_topic: str = URGENT, batch_topic: str = "") -> None:
        settings = KafkaSettings(
            window_records=40,
            window_bytes=4_000,
            max_record_bytes=4_000,
            max_poll_records=5,
            priority_topic=priority_topic,
            batch_topic=batch_topic,
        )
        self.ledger = Ledger()
        self.window = Window(self.ledger, settings)
        self._next: dict[str, int] = {}

    def read(self, topic: str, count: int, size_bytes: int = 10) -> None:
        if (topic, 0) not in self.ledger:
            self.ledger.open((topic, 0), 0, ())
        begin = self._next.get(topic, 0)
        for offset in range(begin, begin + count):
            assert self.ledger.receive(Origin(topic, 0, offset), size_bytes)
        self._next[topic] = begin + count
        self.window.look()

    def settle(self, topic: str, count: int) -> None:
        for offset in sorted(self.ledger[topic, 0].pending)[:count]:
            self.ledger.settle(Origin(topic, 0, offset))
        self.window.look()

    def crowded(self) -> tuple[bool, bool]:
        return self.window.crowded("ftp-tasks"), self.window.crowded(URGENT)


def test_a_full_window_keeps_no_urgent_job_from_being_read() -> None:
    rig = Rig()
    rig.read("ftp-tasks", 39)
    assert rig.crowded() == (False, False)
    rig.read("ftp-tasks", 1)
    assert rig.crowded() == (True, False)
    assert rig.window.crowded("ftp-tasks-retry-10s")


def test_urgent_jobs_keep_no_other_from_being_read() -> None:
    rig = Rig()
    rig.read(URGENT, 10)
    assert rig.crowded() == (False, True)
    rig.read("ftp-tasks", 40)
    assert rig.crowded() == (True, True)


def test_bytes_count_as_well() -> None:
    rig = Rig()
    rig.read(URGENT, 1, size_bytes=1_000)
    assert rig.crowded() == (False, True)
    rig.read("ftp-tasks", 1, size_bytes=3_999)
    assert rig.crowded() == (False, True)
    rig.read("ftp-tasks", 1, size_bytes=1)
    assert rig.crowded() == (True, True)


def test_there_is_room_again_at_the_half() -> None:
    rig = Rig()
    rig.read(URGENT, 10)
    rig.read("ftp-tasks", 40)
    rig.settle(URGENT, 5)
    rig.settle("ftp-tasks", 20)
    assert rig.crowded() == (True, True)
    rig.settle(URGENT, 1)
    assert rig.crowded() == (True, False)
    rig.settle("ftp-tasks", 1)
    assert rig.crowded() == (False, False)


def test_what_is_lost_and_what_is_settled_elsewhere_leaves_room() -> None:
    rig = Rig()
    rig.read(URGENT, 10)
    rig.ledger.open((URGENT, 0), 4, {5, 6})
    assert rig.ledger.load_of(URGENT).records == 4
    rig.read("ftp-tasks", 3)
    rig.ledger.close((URGENT, 0))
    assert (rig.ledger.load_of(URGENT).records, rig.ledger.load_of(URGENT).size_bytes) == (0, 0)
    assert (rig.ledger.load.records, rig.ledger.load.size_bytes) == (3, 30)


@pytest.mark.parametrize(("topic", "room"), [(URGENT, 60), ("", 45)])
def test_the_room_is_for_both_and_the_last_batch_of_each(topic: str, room: int) -> None:
    assert Rig(priority_topic=topic).window.room == room


def test_what_is_read_last_into_each_part_fits_into_the_room() -> None:
    rig = Rig()
    for topic, nearly_all in (("ftp-tasks", 39), (URGENT, 9)):
        rig.read(topic, nearly_all, size_bytes=1)
    assert rig.crowded() == (False, False)
    for topic in ("ftp-tasks", URGENT):
        rig.read(topic, 5, size_bytes=1)
    assert rig.crowded() == (True, True)
    assert rig.ledger.load.records == 58 <= rig.window.room


def test_without_a_priority_topic_there_is_one_part() -> None:
    rig = Rig(priority_topic="")
    rig.read("ftp-tasks", 40)
    assert [part.fill() for part in rig.window.parts] == [1.0]
    assert rig.window.crowded("ftp-tasks-retry-10s")


def test_bulk_jobs_and_their_tallies_keep_no_job_from_being_read() -> None:
    rig = Rig(priority_topic="", batch_topic="batches")
    rig.read("batches", 10)
    rig.window.look()
    assert (rig.window.crowded("batches"), rig.window.crowded("ftp-tasks")) == (True, False)
    assert (rig.window.fill_of("batches"), rig.window.fill_of("ftp-tasks")) == (1.0, 0.0)
