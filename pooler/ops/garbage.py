"""How often Python looks for garbage in cycles.

Each job in hand is some ten objects that live for long, and a look at all that lives takes longer the more of
it there is: with 10,000 jobs in hand a third of a second, in which nothing else moves, every few seconds.
Hardly anything here is ever in a cycle, but for exceptions and their frames.
"""

import gc

_THRESHOLDS = (20_000, 20, 20)


def be_sparing() -> None:
    """Have Python look seldom from now on, which spares a tenth of the time that the imports take."""
    gc.set_threshold(*_THRESHOLDS)


def look_seldom() -> None:
    """Have Python look seldom, and never again at what there is already: modules, classes, configuration."""
    gc.collect()
    gc.freeze()
    be_sparing()
