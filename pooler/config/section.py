"""What every section of config.yaml has in common.

Neighbours: `pooler.config.settings` has the sections, `pooler.config.load` reads them.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Doubt(NamedTuple):
    """A value that works, and deserves a warning.

    Attributes:
        key: whose value it is.
        text: what may come of it.
    """

    key: str
    text: str


class Section(BaseModel):
    """What all sections have in common: frozen, no unknown keys, nothing taken for what it is not."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _as_written(cls, value: Any, info: ValidationInfo) -> Any:
        """Read nothing as None where a key may be None, and keep ``true`` from passing for 1."""
        kind = cls.model_fields[info.field_name or ""].annotation
        if value == "" and type(None) in get_args(kind):
            return None
        if isinstance(value, bool) and kind in {int, float}:
            raise ValueError(f"expected a number, got {str(value).lower()}")
        return value

    def doubts(self) -> Iterator[Doubt]:
        """Give what works, but is less than it should be."""
        yield from ()
