"""Which topic a name stands for: the question, and the answer beside the gaps of a commit."""

import base64
import random
import zlib
from io import BytesIO

import pytest
import trio_asyncio
from aiokafka import TopicPartition
from aiokafka.errors import LeaderNotAvailableError
from hypothesis import given
from hypothesis import strategies as st

from pooler.bus.clients import on_asyncio
from pooler.bus.ledger import (
    METADATA_BYTES,
    SPAN_LIMIT,
    PartitionLedger,
    decode_gaps,
    decode_topic_id,
    encode_gaps,
)
from pooler.bus.topic_ids import MetadataRequest_v10, MetadataResponse_v10, TopicIds, as_kafka_writes
from tests.support.pumps_double import FakeConsumer

ID = bytes(range(240, 256))
HERE = TopicPartition("ftp-tasks", 0)


# ---- beside the gaps ----------------------------------------------------------------------------------


@given(st.sets(st.integers(1, 500)), st.sampled_from([b"", ID, bytes(16)]))
def test_gaps_and_topic_come_back(distances: set[int], topic_id: bytes) -> None:
    text = encode_gaps(1000, {1000 + distance for distance in distances}, topic_id)
    assert decode_gaps(1000, text) == {1000 + distance for distance in distances}
    assert decode_topic_id(text) == topic_id


def test_who_has_not_heard_of_topic_ids_reads_the_gaps_all_the_same() -> None:
    """As this was read before there were ids: pods of both kinds share a group during an upgrade."""
    raw = base64.b64decode(encode_gaps(7, {8, 10}, ID), validate=True)
    assert raw[:1] == b"\x01"
    unpacker = zlib.decompressobj()
    assert unpacker.decompress(raw[1:]) == bytes([0b1010])
    assert unpacker.eof


def test_what_was_written_before_there_were_ids_has_none() -> None:
    text = base64.b64encode(b"\x01" + zlib.compress(bytes([0b1010]), 9)).decode()
    assert decode_gaps(7, text) == {8, 10}
    assert decode_topic_id(text) == b""
    assert encode_gaps(7, {8, 10}) == text
    assert encode_gaps(7, ()) == ""


@pytest.mark.parametrize("behind", [b"x", ID + b"x", ID[:15]])
def test_what_is_no_id_is_none(behind: bytes) -> None:
    text = base64.b64encode(b"\x01" + zlib.compress(b"") + behind).decode()
    assert decode_topic_id(text) == b""


@pytest.mark.parametrize("metadata", ["", "?", "AQ==", encode_gaps(0, {1}, ID)[:-8]])
def test_what_is_not_ours_tells_no_topic(metadata: str) -> None:
    assert decode_topic_id(metadata) == b""


def test_the_widest_window_fits_beside_an_id_however_it_is_filled() -> None:
    chance = random.Random(1)
    for share in (0.01, 0.1, 0.5, 0.9, 1.0):
        settled = {offset for offset in range(1, SPAN_LIMIT) if chance.random() < share}
        text = encode_gaps(0, settled, ID)
        assert len(text) <= METADATA_BYTES
        assert decode_gaps(0, text) == settled
        assert decode_topic_id(text) == ID


def test_across_the_widest_holes_the_id_stays() -> None:
    text = encode_gaps(0, {10**12}, ID)
    assert (decode_gaps(0, text), decode_topic_id(text)) == (frozenset(), ID)


def test_a_book_commits_its_topic() -> None:
    book = PartitionLedger(5, {7}, ID)
    assert decode_topic_id(book.commitment().metadata) == ID
    assert decode_gaps(5, book.commitment().metadata) == {7}


def test_what_is_passed_over_is_not_received_and_what_is_in_hand_stays() -> None:
    book = PartitionLedger(0)
    assert [book.receive(offset, 1) for offset in (0, 1)] == [True, True]
    book.skip_to(5)
    assert [book.receive(offset, 1) for offset in (4, 5)] == [False, True]
    assert book.watermark == 0
    book.settle(0)
    book.settle(1)
    assert book.watermark == 5
    book.skip_to(3)
    assert book.next_offset == 6


# ---- the question -------------------------------------------------------------------------------------


def test_the_question_is_as_the_protocol_has_it() -> None:
    request = MetadataRequest_v10([(bytes(16), "ab", {})], False, False, False, {})
    assert request.encode() == b"\x02" + bytes(16) + b"\x03ab" + b"\x00" + b"\x00\x00\x00" + b"\x00"


def test_the_answer_is_as_the_protocol_has_it() -> None:
    broker = b"\x00\x00\x00\x01\x02h\x00\x00\x23\x84\x00\x00"
    partition = b"\x00\x00" + b"\x00\x00\x00\x00" + b"\x00\x00\x00\x01" + b"\x00\x00\x00\x05"
    partition += b"\x02\x00\x00\x00\x01" * 2 + b"\x01" + b"\x00"
    topic = b"\x00\x00\x03ab" + ID + b"\x00" + b"\x02" + partition + b"\x80\x00\x00\x00" + b"\x00"
    raw = (
        bytes(4)
        + b"\x02"
        + broker
        + b"\x02c"
        + b"\x00\x00\x00\x01"
        + b"\x02"
        + topic
        + b"\x80\x00\x00\x00\x00"
    )
    answer = MetadataResponse_v10.decode(BytesIO(raw))
    assert [(error, name, found) for error, name, found, *_ in answer.topics] == [(0, "ab", ID)]
    assert answer.topics[0][4][0][:4] == (0, 0, 1, 5)


async def ask(consumer: FakeConsumer) -> dict[TopicPartition, bytes]:
    async with trio_asyncio.open_loop():
        return dict(await on_asyncio(TopicIds(consumer).ask, [HERE]))


async def test_brokers_tell_the_id_or_have_none() -> None:
    consumer = FakeConsumer()
    assert await ask(consumer) == {}
    consumer._client.ids = {"another": ID}
    assert await ask(consumer) == {}
    consumer._client.ids = {HERE.topic: ID}
    assert await ask(consumer) == {HERE: ID}


@pytest.mark.parametrize("leader", [None, -1])
async def test_where_there_is_no_leader_nobody_is_believed(leader: int | None) -> None:
    consumer = FakeConsumer()
    consumer._client.ids, consumer._client.leader = {HERE.topic: ID}, leader
    with pytest.raises(BaseExceptionGroup) as caught:
        await ask(consumer)
    assert caught.group_contains(LeaderNotAvailableError)


def test_ids_are_written_as_operators_see_them() -> None:
    assert as_kafka_writes(bytes.fromhex("8ca4d168cfd348daa87097902366983a")) == "jKTRaM_TSNqocJeQI2aYOg"
    assert as_kafka_writes(b"") == ""
