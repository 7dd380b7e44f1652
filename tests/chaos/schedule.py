"""What is done to whom and when, all of it drawn from one seed before anything begins. Pure.

An act is drawn without a look at what goes on, so a seed always gives the same acts. Whoever performs them
leaves out those that cannot be: a second broker is never down, and what is dead is not killed again.
"""

import random
from collections.abc import Sequence
from typing import Literal, NamedTuple

from tests.support.cutter_proxy import How

EVERY_S = 0.5
What = Literal["kill", "freeze", "leave", "kill broker", "kill server", "cut", "stall", "slow"]

# Of a hundred acts. A process that dies or freezes costs the whole group a session timeout of standing still:
# more of them, and no job would ever be done while there is chaos.
_WEIGHTS: dict[What, int] = {
    "kill": 7,
    "freeze": 3,
    "leave": 5,
    "kill broker": 5,
    "kill server": 10,
    "cut": 34,
    "stall": 16,
    "slow": 20,
}
# From the end of an act to that of what it does, in seconds.
_LASTS_S: dict[What, tuple[float, float]] = {
    "kill": (0.0, 3.0),
    "freeze": (7.0, 12.0),  # longer than the session timeout of the stage
    "leave": (0.0, 3.0),
    "kill broker": (0.5, 4.0),
    "kill server": (0.0, 3.0),
    "cut": (0.0, 0.0),
    "stall": (0.5, 8.0),
    "slow": (1.0, 6.0),
}
_DELAYS_S = (0.01, 0.1)  # each way; a transaction takes six answers, and has two thirds of a session timeout


class Cast(NamedTuple):
    """Whom it can happen to.

    Attributes:
        services: how many processes of the service.
        brokers: how many brokers.
        servers: how many FTP servers.
        kinds: classes of connections.
    """

    services: int
    brokers: int
    servers: int
    kinds: Sequence[str]


class Act(NamedTuple):
    """One thing that happens.

    Attributes:
        at_s: when, in seconds from the beginning.
        what: the deed.
        target: the number of the process, broker or server, from 0; 0 where connections suffer.
        kinds: which connections suffer.
        lasts_s: how long it lasts, or how long what was killed stays away.
        how: how connections are cut.
        delay_s: how slow they become.
    """

    at_s: float
    what: What
    target: int = 0
    kinds: tuple[str, ...] = ()
    lasts_s: float = 0.0
    how: How = "RST"
    delay_s: float = 0.0


def schedule(seed: int, seconds: float, cast: Cast) -> list[Act]:
    """Draw what happens within so many seconds."""
    dice = random.Random(seed)
    return [_draw(dice, (number + 1) * EVERY_S, cast) for number in range(int(seconds / EVERY_S))]


def _draw(dice: random.Random, at_s: float, cast: Cast) -> Act:
    (what,) = dice.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
    lasts_s = round(dice.uniform(*_LASTS_S[what]), 3)
    match what:
        case "kill" | "freeze" | "leave":
            return Act(at_s, what, dice.randrange(cast.services), lasts_s=lasts_s)
        case "kill broker":
            return Act(at_s, what, dice.randrange(cast.brokers), lasts_s=lasts_s)
        case "kill server":
            return Act(at_s, what, dice.randrange(cast.servers), lasts_s=lasts_s)
        case "cut":
            return Act(at_s, what, kinds=_some(dice, cast.kinds), how=dice.choice(("RST", "FIN")))
        case "stall":
            return Act(at_s, what, kinds=_some(dice, cast.kinds), lasts_s=lasts_s)
        case "slow":
            delay_s = round(dice.uniform(*_DELAYS_S), 3)
            return Act(at_s, what, kinds=_some(dice, cast.kinds), lasts_s=lasts_s, delay_s=delay_s)


def _some(dice: random.Random, kinds: Sequence[str]) -> tuple[str, ...]:
    """Choose one class mostly; now and then all of Kafka's, or all others: the whole network of one side."""
    if dice.random() < 0.8:
        return (dice.choice(kinds),)
    brokers = dice.random() < 0.5
    return tuple(kind for kind in kinds if kind.startswith("broker") == brokers)
