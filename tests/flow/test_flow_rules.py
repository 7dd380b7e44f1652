"""The pure rules of the flow: retries, breakers, the budget, the order of destinations."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pooler.errors import (
    ConnectError,
    DataConnectionError,
    ErrorCode,
    JobError,
    LoginRefused,
    PeerProtocolError,
    PoolerError,
    ReplyError,
    SessionLost,
    TlsError,
    TooManySessions,
    TransferTimeout,
)
from pooler.flow.breaker import Breaker, Event, State, Thresholds
from pooler.flow.budget import Budget
from pooler.flow.order import Order
from pooler.flow.retry import Again, Backoff, judge
from pooler.flow.work import Work
from pooler.model.job import Delivery, Direction, Endpoint, Job, Options, Origin, Record
from pooler.transfer.plan import Plan

BACKOFF = Backoff(1.0, 30.0)


# ---- retry --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failures", "pause_s"), [(1, 1), (2, 2), (3, 4), (5, 16), (6, 30), (64, 30), (10_000, 30)]
)
def test_pauses_double_up_to_the_longest(failures: int, pause_s: float) -> None:
    assert BACKOFF.after(failures) == pause_s


COUNTS = [
    DataConnectionError("x"),
    TransferTimeout("x"),
    PeerProtocolError("x"),
    SessionLost("x"),
    ReplyError(450, "busy", "RETR"),
    # On a session that is open these are about the transfer.
    ConnectError("x"),
    TlsError("x"),
    LoginRefused("x"),
]
NEVER = [JobError(ErrorCode.FILE_NOT_FOUND, "x"), ReplyError(550, "no", "RETR"), PoolerError("x")]


def verdict(error: PoolerError, *, attempts: int = 1, forgiven: int = 0, left_s: float = 1e6) -> Again | None:
    return judge(error, attempts=attempts, forgiven=forgiven, allowed=3, left_s=left_s, backoff=BACKOFF)


@pytest.mark.parametrize("error", COUNTS, ids=lambda error: type(error).__name__)
def test_attempts_are_counted(error: PoolerError) -> None:
    at_once = isinstance(error, SessionLost | PeerProtocolError)
    assert verdict(error, attempts=1) == Again(0.0 if at_once else 1.0, counts=True)
    assert verdict(error, attempts=2) == Again(2.0, counts=True)
    assert verdict(error, attempts=3) is None
    assert verdict(error, attempts=5, forgiven=3) == Again(16.0, counts=True)
    assert verdict(error, attempts=6, forgiven=3) is None


@pytest.mark.parametrize("error", NEVER, ids=str)
def test_what_will_not_help_is_not_tried(error: PoolerError) -> None:
    assert verdict(error) is None


def test_too_many_sessions_cost_no_attempt_but_longer_and_longer_pauses() -> None:
    assert verdict(TooManySessions("x"), attempts=1) == Again(1.0, counts=False)
    assert verdict(TooManySessions("x"), attempts=9, forgiven=8) == Again(30.0, counts=False)


def test_a_pause_that_ends_behind_the_deadline_is_not_begun() -> None:
    assert verdict(DataConnectionError("x"), left_s=1.0) is None
    assert verdict(DataConnectionError("x"), left_s=1.01) is not None
    assert verdict(SessionLost("x"), left_s=0.0) is None
    assert verdict(TooManySessions("x"), left_s=-5.0) is None


# ---- breaker ------------------------------------------------------------------------------------------

THRESHOLDS = Thresholds(failures=3, successes=2, timeout_s=60.0, probes=2)


def in_state(state: State) -> Breaker:
    breaker = Breaker(THRESHOLDS)
    if state is not State.CLOSED:
        breaker.note(Event.REFUSAL, 0.0)
    if state is State.HALF_OPEN:
        breaker.allows(60.0, 0)
    assert breaker.state is state
    return breaker


@pytest.mark.parametrize(
    ("state", "event", "times", "then"),
    [
        (State.CLOSED, Event.SUCCESS, None, State.CLOSED),
        (State.CLOSED, Event.FAILURE, 3, State.OPEN),
        (State.CLOSED, Event.REFUSAL, 1, State.OPEN),
        (State.OPEN, Event.SUCCESS, None, State.OPEN),
        (State.OPEN, Event.FAILURE, None, State.OPEN),
        (State.OPEN, Event.REFUSAL, None, State.OPEN),
        (State.HALF_OPEN, Event.SUCCESS, 2, State.CLOSED),
        (State.HALF_OPEN, Event.FAILURE, 1, State.OPEN),
        (State.HALF_OPEN, Event.REFUSAL, 1, State.OPEN),
    ],
)
def test_every_state_and_event(state: State, event: Event, times: int | None, then: State) -> None:
    breaker = in_state(state)
    for time in range(1, (times or 10)):
        assert not breaker.note(event, 70.0), time
        assert breaker.state is state
    assert breaker.note(event, 70.0) == (times is not None)
    assert breaker.state is then
    if then is State.OPEN and times is not None:
        assert breaker.opens_until == 130.0


def test_only_failures_in_a_row_open_it() -> None:
    breaker = in_state(State.CLOSED)
    for _ in range(5):
        breaker.note(Event.FAILURE, 0.0)
        breaker.note(Event.FAILURE, 0.0)
        breaker.note(Event.SUCCESS, 0.0)
    assert breaker.state is State.CLOSED


def test_open_lets_nobody_through_until_its_time_and_then_so_many_at_once() -> None:
    breaker = in_state(State.OPEN)
    assert not breaker.allows(59.9, 0)
    assert breaker.state.value == "open"
    assert breaker.allows(60.0, 0)
    assert breaker.state.value == "half_open"
    assert breaker.opens_until is None
    assert breaker.allows(60.0, 1)
    assert not breaker.allows(60.0, 2)


class BreakerModel(RuleBasedStateMachine):
    """The breaker beside the words of its documentation."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(THRESHOLDS)
        self.now = 0.0
        self.state = "closed"
        self.opened_at = 0.0
        self.row: list[Event] = []

    @rule(seconds=st.sampled_from([0.0, 1.0, 59.0, 60.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(begun=st.integers(0, 3))
    def ask(self, begun: int) -> None:
        if self.state == "open" and self.now >= self.opened_at + 60:
            self.state, self.row = "half_open", []
        expected = {"closed": True, "open": False, "half_open": begun < 2}[self.state]
        assert self.breaker.allows(self.now, begun) == expected

    @rule(event=st.sampled_from(list(Event)))
    def note(self, event: Event) -> None:
        self.row.append(event)
        before = self.state
        opens = {
            "closed": event is Event.REFUSAL or self.row[-3:] == [Event.FAILURE] * 3,
            "open": False,
            "half_open": event is not Event.SUCCESS,
        }
        if opens[self.state]:
            self.state = "open"
        elif self.state == "half_open" and self.row[-2:] == [Event.SUCCESS] * 2:
            self.state = "closed"
        assert self.breaker.note(event, self.now) == (self.state != before)
        if self.state != before:
            self.opened_at, self.row = self.now, []

    @invariant()
    def agree(self) -> None:
        assert self.breaker.state.value == self.state
        assert (self.breaker.opens_until is not None) == (self.state == "open")


TestBreakerModel = BreakerModel.TestCase


# ---- the budget of the process ------------------------------------------------------------------------


class Household:
    """Somebody who shares the budget: has jobs to do and sessions, and does what it is told."""

    def __init__(self, budget: Budget, everybody: list["Household"]) -> None:
        self.backlog = 0
        self.blocked = False
        self.busy = 0
        self.leaving = 0
        self.served = 0
        self.woken = True
        self._budget = budget
        self._everybody = everybody
        everybody.append(self)

    @property
    def sessions(self) -> int:
        return self.busy

    def give_up_one(self) -> bool:
        if self.leaving == self.busy:
            return False
        self.leaving += 1
        return True

    def wake(self) -> None:
        self.woken = True

    def others(self) -> Sequence["Household"]:
        return list(self._everybody)

    def look(self) -> None:
        """What a remote does when it is woken."""
        self.woken = False
        while self.backlog > self.busy and not self.blocked:
            if not self._budget.take(self, self.others):
                return
            self.busy += 1
        self._budget.withdraw(self)

    def finish_one(self) -> None:
        """End a job; the session goes on with the next unless it was told to leave."""
        self.backlog -= 1
        self.served += 1
        if self.leaving or self.backlog < self.busy:
            self.leaving = max(0, self.leaving - 1)
            self.busy -= 1
            self._budget.give_back()
        self.woken = True


def home(total: int) -> tuple[Budget, list[Household]]:
    return Budget(total), []


def settle(everybody: list[Household]) -> None:
    """Let everybody look who is to, until nobody is; ends, or there is a livelock."""
    for _ in range(1000):
        woken = [one for one in everybody if one.woken]
        if not woken:
            return
        for one in woken:
            one.look()
    raise AssertionError("they wake each other for ever")


@given(
    total=st.integers(1, 5),
    backlogs=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    dice=st.randoms(use_true_random=False),
    blocked=st.sets(st.integers(0, 5)),
)
def test_nobody_is_forgotten_and_never_more_than_the_total(
    total: int, backlogs: list[int], dice: random.Random, blocked: set[int]
) -> None:
    budget = Budget(total)
    everybody: list[Household] = []
    for backlog in backlogs:
        Household(budget, everybody).backlog = backlog
    for number in blocked & set(range(len(everybody))):
        everybody[number].blocked = dice.random() < 0.5
    able = [one for one in everybody if not one.blocked]
    waited = dict.fromkeys(able, 0)
    while any(one.backlog for one in able):
        dice.shuffle(everybody)
        settle(everybody)
        assert sum(one.busy for one in everybody) == budget.used <= total
        wanted = sum(one.backlog for one in able)
        assert budget.used == min(total, wanted), "a session stays free while somebody waits"
        for one in able:
            waited[one] = 0 if one.busy or not one.backlog else waited[one] + 1
            # One job each of those before it in line, and one of whoever is told to go.
            assert waited[one] <= 2 * len(able) * (total + 1), "somebody with nothing is kept waiting"
        dice.choice([one for one in everybody if one.busy]).finish_one()
    settle(everybody)
    assert budget.used == 0


def test_who_has_none_gets_the_last_session_of_a_backlog() -> None:
    budget, everybody = home(1)
    rich, poor = Household(budget, everybody), Household(budget, everybody)
    rich.backlog = 1000
    settle(everybody)
    poor.backlog, poor.woken = 1, True
    settle(everybody)
    assert rich.leaving == 1
    rich.finish_one()
    settle(everybody)
    assert (rich.busy, poor.busy) == (0, 1)


def test_only_as_many_are_told_to_go_as_somebody_waits_for() -> None:
    budget, everybody = home(6)
    rich, poor = Household(budget, everybody), Household(budget, everybody)
    rich.backlog = 1000
    settle(everybody)
    poor.backlog = 1
    for _ in range(10):
        poor.woken = True
        settle(everybody)
    assert rich.leaving == 1


def test_two_of_a_kind_share_alike_and_then_leave_each_other_alone() -> None:
    budget, everybody = home(6)
    first, second = Household(budget, everybody), Household(budget, everybody)
    first.backlog = 500
    settle(everybody)
    second.backlog, second.woken = 500, True
    for _ in range(40):
        settle(everybody)
        max(everybody, key=lambda one: (one.leaving, one.busy)).finish_one()
    settle(everybody)
    assert sorted([first.busy, second.busy]) == [3, 3]
    assert first.leaving == second.leaving == 0


# ---- order --------------------------------------------------------------------------------------------


def work_to(destination: str, order_key: str | None, number: int) -> Work:
    options = Options(order_key=order_key)
    job = Job(str(number), Endpoint("far", "/x"), Endpoint("local", f"/{destination}"), options)
    plan = Plan(Direction.DOWNLOAD, "far", "/x", "local", (destination,), options)
    return Work(Delivery(job, Record(Origin("t", 0, number), None, b""), 0.0), plan, 1.0, 1)


class OrderModel(RuleBasedStateMachine):
    """Jobs come to three destinations, some with a key, and end at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.order = Order()
        self.all: list[Work] = []
        self.running: list[Work] = []
        self.count = 0

    def may_run(self, work: Work) -> bool:
        """What is promised: nobody who came before has the same destination or the same key."""
        before = self.all[: self.all.index(work)]
        return not any(
            other.plan.destination == work.plan.destination
            or (
                other.plan.options.order_key is not None
                and other.plan.options.order_key == work.plan.options.order_key
            )
            for other in before
        )

    @rule(destination=st.sampled_from("abc"), order_key=st.sampled_from(["k", "l", None]))
    def come(self, destination: str, order_key: str | None) -> None:
        self.count += 1
        work = work_to(destination, order_key, self.count)
        self.all.append(work)
        goes_on = self.order.admit(work)
        assert goes_on == self.may_run(work)
        if goes_on:
            self.running.append(work)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        ended = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        self.all.remove(ended)
        self.running += self.order.release(ended)
        assert len(set(self.running)) == len(self.running)

    @invariant()
    def everybody_whose_turn_it_is_runs(self) -> None:
        assert {work for work in self.all if self.may_run(work)} == set(self.running)

    @invariant()
    def nothing_is_kept(self) -> None:
        assert self.all or not self.order._lines


TestOrderModel = OrderModel.TestCase
