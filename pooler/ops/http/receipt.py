"""What is kept of a request that bore an Idempotency-Key."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Receipt:
    """What came of a request with an Idempotency-Key before.

    Attributes:
        digest: of the request.
        answer: what was answered, as JSON.
    """

    digest: str
    answer: str
