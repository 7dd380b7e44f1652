"""Questions that every pod answers for itself, and whoever is asked puts together for all of them.

A question has a name, what this pod answers to it, and the form of the answer. Whichever pod gets the request
answers for itself, has the others answer over the control topic (`pooler.flow.inquiries`), and names those
that have said nothing. `pooler.ops.http.questions` has them all.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from pydantic import TypeAdapter, ValidationError

from pooler.errors import BusError

ANSWER_S: Final = 3.0
"""How long the others are waited for, in seconds."""

T = TypeVar("T")
S = TypeVar("S", bound="Asker")

Query = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """What other pods have answered.

    Attributes:
        bodies: each answer, as JSON, by the name of the pod.
        errors: why a pod has no answer, by its name.
        silent: the pods that have said nothing.
    """

    bodies: Mapping[str, bytes]
    errors: Mapping[str, str]
    silent: tuple[str, ...]


NOBODY: Final = Told({}, {}, ())
"""Where there are no other pods."""


class Asker(Protocol):
    """A pod, as far as it asks others."""

    @property
    def pod(self) -> str:
        """Its name."""
        ...

    async def ask_others(self, what: str, query: Query, within_s: float) -> Told:
        """Ask all other pods something.

        Raises:
            BusError: the question is not known to be written.
        """
        ...


@dataclass(frozen=True, slots=True)
class Together(Generic[T]):
    """What all pods have answered.

    Attributes:
        answers: ours first, by the name of the pod.
        silent: the pods that have said nothing, or could not answer.
    """

    answers: Mapping[str, T]
    silent: tuple[str, ...]


class Question(Generic[S, T]):
    """Something that each pod answers for itself.

    Args:
        name: what pods call it.
        model: the form of the answer.
        here: what this pod answers.
    """

    def __init__(self, name: str, model: type[T], here: Callable[[S, Query], Awaitable[T]]) -> None:
        self.name = name
        self._adapter: TypeAdapter[T] = TypeAdapter(model)
        self.here = here

    async def put_down(self, service: S, query: Query) -> bytes:
        """Answer for this pod, as JSON."""
        return self._adapter.dump_json(await self.here(service, query))

    async def everywhere(self, service: S, query: Query, *, within_s: float = ANSWER_S) -> Together[T]:
        """Have all pods answer.

        Args:
            service: this pod.
            query: what else there is to say of it.
            within_s: how long the others are waited for, in seconds.
        """
        theirs = await self.elsewhere(service, query, within_s=within_s)
        return Together({service.pod: await self.here(service, query), **theirs.answers}, theirs.silent)

    async def elsewhere(self, service: S, query: Query, *, within_s: float = ANSWER_S) -> Together[T]:
        """Have all other pods answer: see `everywhere`."""
        try:
            told = await service.ask_others(self.name, query, within_s)
        except BusError:
            told = Told({}, {}, ("all others: the control topic cannot be written to now",))
        answers: dict[str, T] = {}
        silent = [*told.silent, *told.errors]
        for pod, body in told.bodies.items():
            try:
                answers[pod] = self._adapter.validate_json(body)
            except ValidationError:
                silent.append(pod)  # another version of the program, whose words we do not know
        return Together(answers, tuple(sorted(silent)))
