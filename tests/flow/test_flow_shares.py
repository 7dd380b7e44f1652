"""Shares of a total, agreed on by a log: never above it whatever happens, and all of it in use once it is
quiet."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from pooler.flow.shares import Need, Shares, Terms, fair_shares
from pooler.model.control import Claim

TERMS = Terms(lease_s=36.0, gone_after_s=45.0)
TOTAL = 10
TURN_S = 30
KEY = "remote far"
PODS = st.sampled_from("abcdef")


@given(
    st.integers(0, 50),
    st.dictionaries(PODS, st.integers(0, 60)),
    st.dictionaries(PODS, st.integers(0, 60)),
    st.integers(0, 5),
)
def test_what_is_shared_is_all_that_is_wanted_or_all_that_there_is(
    total: int, wants: dict[str, int], held: dict[str, int], turn: int
) -> None:
    shares = fair_shares(total, wants, {pod: held.get(pod, 0) for pod in wants}, turn)
    assert sum(shares.values()) == min(total, sum(wants.values()))
    assert all(shares[pod] <= wants[pod] for pod in wants)
    # Nobody who wants more has less than somebody else, but for what cannot be shared evenly.
    lacking = [shares[pod] for pod in wants if shares[pod] < wants[pod]]
    assert not lacking or max(shares.values()) <= min(lacking) + 1


def test_what_cannot_be_shared_evenly_stays_where_it_is() -> None:
    wants = dict.fromkeys("abcd", 10)
    assert fair_shares(10, wants, {"a": 2, "b": 3, "c": 2, "d": 3}, 0) == {"a": 2, "b": 3, "c": 2, "d": 3}
    assert fair_shares(10, wants, {"a": 3, "b": 2, "c": 3, "d": 2}, 1) == {"a": 3, "b": 2, "c": 3, "d": 2}


def test_where_there_are_more_pods_than_sessions_each_has_its_turn() -> None:
    wants = dict.fromkeys("abcd", 1)
    served = set()
    for turn in range(40):
        shares = fair_shares(1, wants, {"a": 1, "b": 0, "c": 0, "d": 0}, turn)
        served |= {pod for pod, share in shares.items() if share}
    assert served == set("abcd")


@dataclass
class Record:
    pod: str
    serial: int
    claims: Mapping[str, Claim]


@dataclass(frozen=True)
class Tombstone:
    pod: str


@dataclass
class Pod:
    """A process: what it is told, what it does, and a clock of its own."""

    name: str
    shares: Shares
    skew_s: float
    pace: float
    position: int = 0
    serial: int = 0
    open: int = 0
    just_open: int = 0
    wants: int = TOTAL
    frozen: bool = False
    on_its_way: list[Record] = field(default_factory=list)

    def clock(self, now: float) -> float:
        return self.skew_s + now * self.pace

    def counted(self, now: float) -> int:
        """Tell how many sessions are its fault: who is frozen can close none."""
        return 0 if self.frozen and self.clock(now) >= self.shares.until else self.open

    def obey(self, now: float) -> None:
        """Do what a running process does at once: lose what has expired."""
        if self.shares.expire(self.clock(now)):
            self.open = 0


class Deployment(RuleBasedStateMachine):
    """Pods that come, work, fall silent, wake and die, on one log with delays everywhere."""

    pods = Bundle("pods")

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.log: list[Record | Tombstone] = []
        self.alive: list[Pod] = []
        self.late: list[Record] = []
        self.born = 0

    @rule(target=pods, skew=st.integers(-500, 500), pace=st.sampled_from([0.98, 1.0, 1.02]))
    def start(self, skew: int, pace: float) -> Pod:
        self.born += 1
        name = f"p{self.born}"
        shares = Shares(name, TERMS)
        shares.bound(KEY, TOTAL)
        pod = Pod(name, shares, float(skew), pace, position=len(self.log))
        # Compacted: of each pod the newest record alone is still there.
        newest = {record.pod: number for number, record in enumerate(self.log)}
        for number in sorted(newest.values()):
            self._take(pod, self.log[number])
        self.alive.append(pod)
        return pod

    def _take(self, pod: Pod, record: Record | Tombstone) -> None:
        clock = pod.clock(self.now)
        if isinstance(record, Tombstone):
            pod.shares.gone(record.pod)
        elif record.pod == pod.name:
            pod.shares.read_back(record.serial, clock)
        else:
            pod.shares.heard(record.pod, record.serial, record.claims, clock)

    def _read(self, pod: Pod, count: float = inf) -> None:
        while pod.position < len(self.log) and count > 0:
            self._take(pod, self.log[pod.position])
            pod.position += 1
            count -= 1
        pod.obey(self.now)

    def _tick(self, pod: Pod) -> None:
        clock = pod.clock(self.now)
        # What has just been closed still counts for a moment.
        need = Need(max(pod.open, pod.just_open), pod.wants)
        pod.just_open = pod.open
        claims = pod.shares.plan({KEY: need}, clock, int(self.now) // TURN_S)
        if not pod.shares.waiting:
            pod.serial += 1
            pod.shares.send(pod.serial, claims, clock)
            pod.on_its_way.append(Record(pod.name, pod.serial, claims))

    def _arrive(self, pod: Pod) -> None:
        if pod.on_its_way:
            self.log.append(pod.on_its_way.pop(0))

    def _work(self, pod: Pod) -> None:
        allowance = min(pod.shares.allowance(KEY, pod.clock(self.now)), pod.wants)
        pod.open = allowance if pod.open <= allowance else pod.open - 1

    @rule(pod=pods, count=st.integers(1, 5))
    def read(self, pod: Pod, count: int) -> None:
        if not pod.frozen:
            self._read(pod, count)

    @rule(pod=pods)
    def tick(self, pod: Pod) -> None:
        if not pod.frozen:
            self._tick(pod)

    @rule(pod=pods)
    def arrive(self, pod: Pod) -> None:
        self._arrive(pod)

    @rule(pod=pods)
    def round_trip(self, pod: Pod) -> None:
        if not pod.frozen:
            self._tick(pod)
            self._arrive(pod)
            self._read(pod)
            self._work(pod)

    @rule()
    def everybody_reads(self) -> None:
        for pod in self.alive:
            if not pod.frozen:
                self._read(pod)

    @rule()
    def everybody_speaks(self) -> None:
        for pod in self.alive:
            self.round_trip(pod)
            self.everybody_reads()

    @rule(pod=pods, speaks=st.booleans(), reads=st.booleans(), rounds=st.integers(1, 12))
    def is_slow(self, pod: Pod, *, speaks: bool, reads: bool, rounds: int) -> None:
        """Let the others go on for a minute at most, while one is not heard, or does not hear."""
        for _ in range(rounds):
            self._pass(5.0)
            for other in self.alive:
                if other is not pod:
                    self.round_trip(other)
            if pod.frozen:
                continue
            self._tick(pod)
            if speaks:
                self._arrive(pod)
            if reads:
                self._read(pod)
            self._work(pod)
            self.never_more_than_the_total()

    @rule(pod=pods)
    def work(self, pod: Pod) -> None:
        if not pod.frozen:
            self._work(pod)

    @rule(pod=pods, wants=st.integers(0, TOTAL + 2))
    def want(self, pod: Pod, wants: int) -> None:
        pod.wants = wants

    @rule(pod=pods)
    def freeze(self, pod: Pod) -> None:
        pod.frozen = True

    @rule(pod=pods)
    def wake(self, pod: Pod) -> None:
        pod.frozen = False
        pod.obey(self.now)

    @rule(pod=consumes(pods))
    def die(self, pod: Pod) -> None:
        self.alive.remove(pod)
        self.late += pod.on_its_way  # what is on its way may still arrive

    @rule(pod=consumes(pods))
    def leave(self, pod: Pod) -> None:
        self.alive.remove(pod)
        self.log += [*pod.on_its_way, Tombstone(pod.name)]

    @precondition(lambda self: self.late)
    @rule()
    def arrive_late(self) -> None:
        self.log.append(self.late.pop(0))

    @rule(seconds=st.sampled_from([0.25, 3.0, 10.0, 30.0, 38.0, 46.0, 100.0]))
    def pass_time(self, seconds: float) -> None:
        self._pass(seconds)

    def _pass(self, seconds: float) -> None:
        self.now += seconds
        for pod in self.alive:
            if not pod.frozen:
                pod.obey(self.now)

    @invariant()
    def never_more_than_the_total(self) -> None:
        counted = {pod.name: pod.counted(self.now) for pod in self.alive}
        assert sum(counted.values()) <= TOTAL, counted

    def teardown(self) -> None:
        """Once it is quiet and everybody has work, all but one at most is in use, but where turns change."""
        for pod in self.alive:
            pod.frozen, pod.wants = False, TOTAL
            pod.obey(self.now)
        self.log += self.late
        quiet_from = self.now
        while self.now < quiet_from + 100 or self.now % TURN_S < TURN_S - 5:
            self._pass(0.5)
            for pod in self.alive:
                self._tick(pod)
                self._arrive(pod)
            for pod in self.alive:
                self._read(pod)
                self._work(pod)
                self.never_more_than_the_total()
        if self.alive:
            assert sum(pod.open for pod in self.alive) >= TOTAL - 1
            fair = [pod.open for pod in self.alive]
            assert max(fair) - min(fair) <= 1


Deployment.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestDeployment = Deployment.TestCase


def speaking(shares: Shares, serial: int, need: Need, now: float) -> Claim:
    claims = shares.plan({KEY: need}, now, 0)
    shares.send(serial, claims, now)
    return claims[KEY]


def made(name: str, total: int = TOTAL) -> Shares:
    shares = Shares(name, TERMS)
    shares.bound(KEY, total)
    return shares


def test_nothing_is_ours_before_it_is_read_back() -> None:
    shares = made("a")
    assert speaking(shares, 1, Need(0, 4), 0.0) == Claim(0, 4, 4, TOTAL)
    assert shares.allowance(KEY, 0.0) == 0
    shares.read_back(1, 0.5)
    assert shares.allowance(KEY, 0.5) == 4
    assert shares.until == 36.0


def test_of_two_who_ask_at_once_the_first_in_the_log_is_served() -> None:
    first, second = made("a"), made("b")
    one, two = speaking(first, 1, Need(0, 8), 0.0), speaking(second, 1, Need(0, 8), 0.0)
    first.read_back(1, 0.1)
    second.heard("a", 1, {KEY: one}, 0.1)
    first.heard("b", 1, {KEY: two}, 0.1)
    second.read_back(1, 0.1)
    assert (first.allowance(KEY, 0.2), second.allowance(KEY, 0.2)) == (8, 2)


def test_who_has_more_than_is_fair_uses_less_at_once_and_says_so_when_it_has_less() -> None:
    shares = made("a")
    speaking(shares, 1, Need(0, 10), 0.0)
    shares.read_back(1, 0.0)
    shares.heard("b", 1, {KEY: Claim(0, 0, 10, TOTAL)}, 1.0)
    assert speaking(shares, 2, Need(10, 10), 1.0) == Claim(10, 10, 10, TOTAL)
    assert shares.allowance(KEY, 1.0) == 5
    shares.read_back(2, 1.0)
    assert speaking(shares, 3, Need(7, 10), 2.0) == Claim(7, 7, 10, TOTAL)
    shares.read_back(3, 2.0)
    assert speaking(shares, 4, Need(5, 10), 3.0) == Claim(5, 5, 10, TOTAL)


def test_what_nobody_else_wants_is_kept() -> None:
    shares = made("a")
    speaking(shares, 1, Need(0, 10), 0.0)
    shares.read_back(1, 0.0)
    shares.heard("b", 1, {KEY: Claim(0, 0, 0, TOTAL)}, 1.0)
    assert speaking(shares, 2, Need(2, 2), 1.0) == Claim(10, 10, 2, TOTAL)


def test_who_is_silent_counts_until_it_has_lost_everything_itself() -> None:
    shares = made("a")
    shares.heard("dead", 7, {KEY: Claim(10, 10, 10, TOTAL)}, 0.0)
    assert speaking(shares, 1, Need(0, 10), 44.9) == Claim(0, 0, 10, TOTAL)
    shares.read_back(1, 44.9)
    assert speaking(shares, 2, Need(0, 10), 45.0) == Claim(0, 10, 10, TOTAL)
    shares.read_back(2, 45.1)
    assert shares.allowance(KEY, 45.1) == 10


def test_silence_is_judged_by_when_we_wrote_and_not_by_when_we_came_to_read_it() -> None:
    shares = made("a")
    shares.heard("b", 1, {KEY: Claim(6, 6, 6, TOTAL)}, 0.0)
    # All of it is asked for by a plan that knows nothing yet; we are asleep before it is read back.
    shares.send(1, {KEY: Claim(0, 10, 10, TOTAL)}, 20.0)
    shares.read_back(1, 50.0)
    assert shares.allowance(KEY, 50.0) == 4


@pytest.mark.parametrize(("read_at", "kept"), [(35.9, 10), (36.0, 0)])
def test_a_lease_that_has_run_out_is_not_renewed_by_what_was_written_before(
    read_at: float, kept: int
) -> None:
    shares = made("a")
    speaking(shares, 1, Need(0, 10), 0.0)
    shares.read_back(1, 0.0)
    speaking(shares, 2, Need(10, 10), 30.0)
    shares.read_back(2, read_at)
    assert shares.allowance(KEY, read_at) == kept


def test_the_smaller_total_counts_while_pods_differ() -> None:
    shares = made("a", total=10)
    shares.heard("b", 1, {KEY: Claim(1, 1, 1, 4)}, 0.0)
    assert speaking(shares, 1, Need(0, 10), 0.0).asks == 3
    shares.read_back(1, 0.0)
    assert shares.allowance(KEY, 0.0) == 3


def test_a_record_that_is_older_than_what_is_known_is_passed_over() -> None:
    shares = made("a")
    shares.heard("b", 5, {KEY: Claim(8, 8, 8, TOTAL)}, 0.0)
    shares.heard("b", 4, {KEY: Claim(1, 1, 1, TOTAL)}, 0.0)
    assert speaking(shares, 1, Need(0, 10), 0.0).asks == 2
