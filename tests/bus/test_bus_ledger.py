"""The ledger against a model that keeps everything, and its codec against its own limits."""

import base64
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from pooler.bus.ledger import (
    METADATA_BYTES,
    SPAN_LIMIT,
    Commitment,
    Ledger,
    PartitionLedger,
    decode_gaps,
    encode_gaps,
)
from pooler.model.job import Origin, Record

TOPIC = ("tasks", 0)


def test_watermark_is_the_smallest_offset_in_hand() -> None:
    book = PartitionLedger(10)
    for offset in (10, 11, 12):
        assert book.receive(offset, 1)
    assert book.watermark == 10
    book.settle(11)
    assert book.commitment().offset == 10
    assert decode_gaps(10, book.commitment().metadata) == {11}
    book.settle(10)
    assert book.commitment() == Commitment(12, "")
    book.settle(12)
    assert book.commitment() == Commitment(13, "")


def test_holes_in_the_offsets_do_not_hold_the_watermark() -> None:
    book = PartitionLedger(0)
    book.receive(5, 1)
    book.receive(900, 1)
    book.settle(5)
    assert book.watermark == 900
    book.settle(900)
    assert book.watermark == 901


def test_what_the_metadata_says_is_settled_is_not_taken_in_again() -> None:
    book = PartitionLedger(7, {8, 10})
    assert [book.receive(offset, 1) for offset in (7, 8, 9, 10, 11)] == [True, False, True, False, True]
    book.settle(7)
    assert book.watermark == 9


@pytest.mark.parametrize("settled", [{8}, {8, 9}, {8, 10}])
def test_what_was_settled_right_behind_what_is_read_is_committed_too(settled: set[int]) -> None:
    book = PartitionLedger(7, settled)
    assert book.receive(7, 1)
    book.settle(7)
    # Nothing else was read, and the next owner must not do it again.
    commitment = book.commitment()
    covered = set(range(commitment.offset)) | decode_gaps(*commitment)
    assert covered >= {7, *settled}
    assert [offset for offset in (8, 9, 10, 11) if book.receive(offset, 1)] == sorted({9, 10, 11} - settled)


def test_what_another_has_settled_right_behind_what_we_have_read_stays_settled() -> None:
    book = PartitionLedger(0)
    for offset in range(3):
        book.receive(offset, 1)
    book.adopt(1, {3, 4, 6})
    for offset in (1, 2):
        book.settle(offset)
    assert book.commitment().offset == 5
    assert decode_gaps(*book.commitment()) == {6}
    assert [offset for offset in range(3, 8) if book.receive(offset, 1)] == [5, 7]


def test_a_record_that_comes_again_is_not_new() -> None:
    book = PartitionLedger(0)
    assert book.receive(0, 1)
    assert not book.receive(0, 1)
    book.settle(0)
    assert not book.receive(0, 1)


def test_asking_what_could_be_committed_changes_nothing() -> None:
    book = PartitionLedger(0)
    for offset in range(4):
        book.receive(offset, 1)
    before = book.commitment()
    asked = book.commitment({0, 2})
    assert asked.offset == 1
    assert decode_gaps(1, asked.metadata) == {2}
    assert book.commitment() == before == Commitment(0, "")


def test_settling_what_is_not_in_hand_is_told() -> None:
    book = PartitionLedger(0)
    book.receive(0, 42)
    assert book.settle(3) is None
    assert book.settle(0) == 42
    assert book.settle(0) is None
    assert book.watermark == 1


def test_after_a_rebalance_the_progress_of_others_is_taken_over() -> None:
    book = PartitionLedger(0)
    for offset in range(6):
        book.receive(offset, 10)
    released = book.adopt(2, {4})
    assert released == 30
    assert sorted(book.pending) == [2, 3, 5]
    assert book.watermark == 2
    book.settle(2)
    book.settle(3)
    assert book.watermark == 5


def test_a_window_as_wide_as_the_metadata_holds_is_full() -> None:
    book = PartitionLedger(0)
    seen = []
    for offset in (0, SPAN_LIMIT - 2, SPAN_LIMIT - 1):
        book.receive(offset, 1)
        seen.append(book.full)
    book.settle(0)
    assert [*seen, book.full] == [False, False, True, False]


def test_any_filling_of_a_full_window_fits_into_the_metadata() -> None:
    chance = random.Random(1)
    for share in (0.1, 0.5, 0.9, 1.0):
        settled = {offset for offset in range(1, SPAN_LIMIT) if chance.random() <= share}
        text = encode_gaps(0, settled)
        assert len(text) <= METADATA_BYTES
        assert decode_gaps(0, text) == settled


def test_what_does_not_fit_is_left_out_from_the_top() -> None:
    chance = random.Random(2)
    settled = {chance.randrange(1, 3_000_000) for _ in range(20_000)}
    text = encode_gaps(0, settled)
    assert len(text) <= METADATA_BYTES
    kept = decode_gaps(0, text)
    assert kept
    assert kept == set(sorted(settled)[: len(kept)])


@given(st.sets(st.integers(1, 100_000), max_size=300), st.integers(0, 2**62))
def test_gaps_survive_the_round_trip(distances: set[int], watermark: int) -> None:
    settled = {watermark + distance for distance in distances}
    assert decode_gaps(watermark, encode_gaps(watermark, settled)) == settled


@given(st.text(max_size=200))
def test_metadata_of_others_counts_as_empty(text: str) -> None:
    assert isinstance(decode_gaps(0, text), frozenset)


@pytest.mark.parametrize(
    "metadata",
    [
        "",
        "hello",
        base64.b64encode(b"\x02" + zlib.compress(b"\xff")).decode(),
        base64.b64encode(b"\x01" + zlib.compress(b"\xff")[:-3]).decode(),
        base64.b64encode(b"\x01" + zlib.compress(bytes(64 * 1024 * 1024))).decode()[:METADATA_BYTES],
    ],
)
def test_metadata_that_is_not_ours_or_is_damaged_counts_as_empty(metadata: str) -> None:
    assert decode_gaps(5, metadata) == frozenset()


def test_load_follows_what_is_in_hand() -> None:
    ledger = Ledger()
    ledger.open(TOPIC, 0, ())
    ledger.open(("tasks", 1), 0, ())
    assert ledger.receive(Origin("tasks", 0, 0), 100)
    assert ledger.receive(Origin("tasks", 0, 1), 50)
    assert ledger.receive(Origin("tasks", 1, 0), 7)
    assert not ledger.receive(Origin("tasks", 1, 0), 7)
    assert (ledger.load.records, ledger.load.size_bytes) == (3, 157)
    ledger.settle(Origin("tasks", 0, 0))
    ledger.settle(Origin("tasks", 0, 0))
    assert (ledger.load.records, ledger.load.size_bytes) == (2, 57)
    ledger.close(TOPIC)
    assert (ledger.load.records, ledger.load.size_bytes) == (1, 7)
    assert not ledger.wants(Record(Origin("tasks", 0, 1), None, None))
    assert ledger.wants(Record(Origin("tasks", 1, 0), None, None))
    ledger.settle(Origin("tasks", 0, 1))
    assert ledger.load.records == 1


def test_a_partition_kept_through_a_rebalance_keeps_what_is_in_hand() -> None:
    ledger = Ledger()
    ledger.open(TOPIC, 0, ())
    for offset in range(3):
        ledger.receive(Origin(*TOPIC, offset), 10)
    book = ledger.open(TOPIC, 1, {2})
    assert book.next_offset == 3
    assert ledger.wants(Record(Origin(*TOPIC, 1), None, None))
    assert not ledger.wants(Record(Origin(*TOPIC, 2), None, None))
    assert (ledger.load.records, ledger.load.size_bytes) == (1, 10)


def test_what_was_read_before_a_partition_was_lost_and_came_back_is_not_wanted() -> None:
    ledger = Ledger()
    for tenure in (1, 2):
        assert ledger.open(TOPIC, 0, ()).tenure == tenure
        ledger.receive(Origin(*TOPIC, 0), 10)
        kept = ledger.open(TOPIC, 0, ())
        read = [Record(Origin(*TOPIC, 0), None, None, tenure=number) for number in (1, 2)]
        assert [ledger.wants(record) for record in read] == [tenure == 1, tenure == 2]
        assert kept.tenure == tenure
        ledger.close(TOPIC)
    assert not any(map(ledger.wants, read))


def test_what_is_ours_and_not_read_yet_is_not_settled() -> None:
    ledger = Ledger()
    ledger.open(TOPIC, 4, {6})
    ledger.receive(Origin(*TOPIC, 4), 10)
    settled = [offset for offset in range(9) if ledger.is_settled(Origin(*TOPIC, offset))]
    assert settled == [0, 1, 2, 3, 6]
    ledger.settle(Origin(*TOPIC, 4))
    assert ledger.is_settled(Origin(*TOPIC, 4))
    ledger.close(TOPIC)
    assert not ledger.is_settled(Origin(*TOPIC, 0))


class LedgerMachine(RuleBasedStateMachine):
    """Members of a group, one after the other: what one commits is what the next begins with."""

    origins = Bundle("origins")

    def __init__(self) -> None:
        super().__init__()
        self.book = PartitionLedger(0)
        self.next = 0
        self.received: set[int] = set()
        self.settled: set[int] = set()
        self.committed = Commitment(0, "")

    @rule(target=origins, hole=st.integers(0, 3), size=st.integers(0, 9))
    def read(self, hole: int, size: int) -> int:
        offset = self.next + hole
        self.next = offset + 1
        assert self.book.receive(offset, size) == (offset not in self.settled)
        self.received.add(offset)
        return offset

    @rule(offset=origins)
    def settle(self, offset: int) -> None:
        assert (self.book.settle(offset) is not None) == (offset not in self.settled)
        self.settled.add(offset)

    @rule(offset=origins)
    def read_again(self, offset: int) -> None:
        assert not self.book.receive(offset, 1)

    @rule(also=st.sets(st.integers(0, 60)))
    def commit(self, also: set[int]) -> None:
        also &= self.received - self.settled
        self.committed = self.book.commitment(also)
        for offset in also:
            self.book.settle(offset)
        self.settled |= also

    @rule()
    def hand_over(self) -> None:
        """A new owner begins with what is committed, and reads the rest again."""
        known = decode_gaps(self.committed.offset, self.committed.metadata)
        self.book = PartitionLedger(self.committed.offset, known)
        self.settled = {
            offset for offset in self.received if offset < self.committed.offset or offset in known
        }
        self.what_is_settled_is_known()  # of what is not read again yet, too
        for offset in sorted(self.received):
            if offset >= self.committed.offset:
                assert self.book.receive(offset, 1) == (offset not in self.settled)

    @invariant()
    def nothing_in_hand_is_below_the_watermark(self) -> None:
        in_hand = self.received - self.settled
        assert set(self.book.pending) == in_hand
        if in_hand:
            assert self.book.watermark == min(in_hand)
        else:
            assert self.book.watermark == self.book.next_offset

    @invariant()
    def what_is_settled_is_known(self) -> None:
        known = {offset for offset in self.received if self.book.is_settled(offset)}
        assert known == self.received & self.settled

    @invariant()
    def a_commit_now_would_lose_nothing(self) -> None:
        offset, metadata = self.book.commitment()
        told = {known for known in self.received if known < offset} | decode_gaps(offset, metadata)
        assert told & self.received == self.settled & self.received


TestLedgerMachine = LedgerMachine.TestCase
