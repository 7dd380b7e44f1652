"""The table of `state` as a Mermaid diagram, for docs/ftp.md: ``python -m pooler.ftp.diagram`` prints it."""

import sys

from pooler.ftp.state import TABLE, State


def mermaid() -> str:
    """Draw the states and what leads from one to another; what changes nothing is left out."""
    labels: dict[tuple[State, State], dict[str, list[str]]] = {}
    for state, rows in TABLE.items():
        for verb, row in rows.items():
            for digits, target in row.items():
                if target is not state and State.CLOSED not in {state, target}:
                    labels.setdefault((state, target), {}).setdefault(verb, []).append(digits)
    lines = ["stateDiagram-v2", f"    [*] --> {State.CONNECTED.name}"]
    for (state, target), verbs in labels.items():
        by_reply: dict[str, list[str]] = {}
        for verb, replies in verbs.items():
            by_reply.setdefault("/".join(replies), []).append(verb or "greeting")
        label = "; ".join(f"{', '.join(names)} {reply}" for reply, names in by_reply.items())
        lines.append(f"    {state.name} --> {target.name}: {label}")
    lines += [
        f"    {State.SECURING.name} --> {State.GREETED.name}: TLS handshake",
        f"    {State.CLEARING.name} --> {State.READY.name}: TLS ended",
        f"    {State.TRANSFERRING.name} --> {State.READY.name}: final reply",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(mermaid())
