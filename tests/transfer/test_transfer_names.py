import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.config.temp_name import TOKEN_BYTES
from pooler.model.job import Origin
from pooler.transfer.names import Author, former_author, incarnation, local_name

ORIGINS = st.builds(Origin, st.text(max_size=249), st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1))
PROCESSES = st.sampled_from(["aa", "ab", "0123abcd"])
AROUND = st.sampled_from(["", ".", "x-", "pooler-", "pooler-aa-", "{", "긴 이름.", "\n"])


@given(ORIGINS, st.integers(1, 10**9), st.text(max_size=9))
def test_it_is_short_plain_and_hidden(origin: Origin, attempt: int, content: str) -> None:
    token = Author(incarnation(), origin, attempt).token(content)
    name = local_name(token)
    assert name.isascii()
    assert name.isprintable()
    assert len(token) <= TOKEN_BYTES
    assert name.startswith(".pooler-")
    assert name.endswith(".part")
    assert not set(name) & set("/\\ \"'*?[]{}~:;&|<>$")


WHAT = st.tuples(ORIGINS, st.integers(1, 9), st.sampled_from(["", "v1", "v2"]))


@given(WHAT, WHAT)
def test_only_the_same_attempt_at_the_same_content_of_a_job_has_the_same_name(
    one: tuple[Origin, int, str], other: tuple[Origin, int, str]
) -> None:
    first, second = (Author("aa", origin, serial).token(content) for origin, serial, content in (one, other))
    assert (first == second) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Origin("a", 1, 2), Origin("a-1", 2, 2)),
        (Origin("a-1", 2, 3), Origin("a", 12, 3)),
        (Origin("t", 1, 23), Origin("t", 12, 3)),
    ],
)
def test_origins_that_look_alike(one: Origin, other: Origin) -> None:
    assert Author("aa", one, 1).token() != Author("aa", other, 1).token()


def test_each_process_has_its_own() -> None:
    assert len({incarnation() for _ in range(100)}) == 100
    assert Author("aa", Origin("t", 0, 0), 1).token() != Author("ab", Origin("t", 0, 0), 1).token()


WHO = st.tuples(PROCESSES, st.integers(1, 99))


@given(ORIGINS, WHO, WHO, AROUND, AROUND)
def test_an_earlier_part_of_the_same_file_is_known(
    origin: Origin, mine: tuple[str, int], theirs: tuple[str, int], before: str, after: str
) -> None:
    token, former = (Author(process, origin, serial).token("v1") for process, serial in (mine, theirs))
    found = former_author(f"{before}{former}{after}", f"{before}{token}{after}", token)
    assert found == (None if mine == theirs else theirs[0])


@pytest.mark.parametrize(
    "name",
    [
        "",
        "f",
        ".pooler-bb-0000000000000000-1.part",
        f".{Author('bb', Origin('t', 0, 1), 1).token('v1')}.part",
        f".{Author('bb', Origin('t', 0, 0), 1).token('v2')}.part",
        f"{Author('bb', Origin('t', 0, 0), 1).token('v1')}.part",
        f".{Author('bb', Origin('t', 0, 0), 1).token('v1')}.part.old",
        f"../.{Author('bb', Origin('t', 0, 0), 1).token('v1')}.part",
    ],
)
def test_nothing_else_is_an_earlier_part(name: str) -> None:
    token = Author("aa", Origin("t", 0, 0), 1).token("v1")
    assert former_author(name, local_name(token), token) is None
