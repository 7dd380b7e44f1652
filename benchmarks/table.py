"""Medians and ratios of turns, as a table for people and as JSON for machines."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Turns = Mapping[str, Sequence[float]]
"""Files a second of each peer, turn by turn."""


def medians(turns: Turns) -> dict[str, float]:
    """Tell the median of each; what has no turns, since it was refused, is left out."""
    return {peer: statistics.median(rates) for peer, rates in turns.items() if rates}


def ratios(turns: Turns, over: str) -> dict[str, float]:
    """Tell how much quicker each is than another: the median of the ratios within each turn.

    A machine that is slow for a while slows what runs one behind the other alike.
    """
    below = turns.get(over) or ()
    return {
        peer: statistics.median(rate / one for rate, one in zip(rates, below, strict=True))
        for peer, rates in turns.items()
        if rates and below
    }


def markdown(turns: Turns, whole: Turns, cpu_ms: Turns, over: Sequence[str]) -> str:
    """Write a table: files a second, their spread, and the ratio to some of the peers.

    Args:
        turns: apart from the start of each program; ratios are made of these.
        whole: from the start of the program to its end.
        cpu_ms: of the processor's time, for a file.
        over: whom to compare with.
    """
    compared = [peer for peer in over if turns.get(peer)]
    head = [
        "files/s",
        "median",
        "least to most",
        "with its start",
        "CPU ms a file",
        *(f"over {peer}" for peer in compared),
    ]
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    columns = [ratios(turns, peer) for peer in compared]
    of_the_whole, cost = medians(whole), medians(cpu_ms)
    for peer, rate in medians(turns).items():
        cells = [
            f"{rate:.1f}",
            f"{min(turns[peer]):.1f} to {max(turns[peer]):.1f}",
            f"{of_the_whole[peer]:.1f}",
            f"{cost[peer]:.2f}",
        ]
        cells += [f"{column[peer]:.2f}" for column in columns]
        lines.append(f"| {peer} | {' | '.join(cells)} |")
    return "\n".join(lines)


def as_json(turns: Turns, whole: Turns, cpu_ms: Turns, over: Sequence[str]) -> dict[str, Any]:
    """Give the same as data."""
    return {
        "files_per_s": {peer: list(rates) for peer, rates in turns.items()},
        "with_its_start": {peer: list(rates) for peer, rates in whole.items()},
        "cpu_ms_a_file": {peer: list(costs) for peer, costs in cpu_ms.items()},
        "medians": medians(turns),
        "ratios": {peer: ratios(turns, peer) for peer in over if turns.get(peer)},
    }
