"""What is secret goes out of what a person is to send to others, whatever put it there. Pure.

Three nets, one behind the other: fields that are called after a secret; what passwords look like in text; and
the secrets of our own configuration themselves, wherever they stand, such as in a server's reply.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from pydantic import BaseModel, SecretStr

from pooler.config.load import Configuration
from pooler.config.passwords import read_password
from pooler.errors import PoolerError
from pooler.ops.logs import is_secret_name, masked_text

_MASK: Final = "***"
_SHORTEST: Final = 4
"""Shorter secrets are not looked for by themselves: that would tear words apart."""
_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_FILE: Final = ("_file", "_location")
"""How a key ends that names where a secret stands: no secret itself."""


class Mask:
    """Masks what is secret.

    Args:
        secrets: what is masked wherever it stands.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {form for secret in secrets if len(secret) >= _SHORTEST for form in _forms(secret)}
        # The longest first: one may begin with another.
        pattern = "|".join(re.escape(secret) for secret in sorted(known, key=len, reverse=True))
        self._known = re.compile(pattern) if pattern else None

    def text(self, text: str) -> str:
        """Mask what is secret in a text."""
        if self._known is not None:
            text = self._known.sub(_MASK, text)
        return masked_text(self.keys(text))

    @staticmethod
    def keys(text: str) -> str:
        """Mask private keys, which have many lines."""
        return _PRIVATE_KEY.sub(_MASK, text)

    def line(self, line: str) -> str:
        """Mask what is secret in a line of a log, JSON or not."""
        try:
            found = json.loads(line)
        except ValueError:
            return self.text(line)
        return json.dumps(self(found)) if isinstance(found, dict) else self.text(line)

    def __call__(self, value: Any) -> Any:
        """Mask what is secret in what JSON can say."""
        match value:
            case str():
                return self.text(value)
            case Mapping():
                return {self.text(str(name)): self._named(str(name), one) for name, one in value.items()}
            case list() | tuple():
                return [self(one) for one in value]
            case _:
                return value

    def _named(self, name: str, value: Any) -> Any:
        if not is_secret_name(name) or name.endswith(_FILE) or value is None:
            return self(value)
        if isinstance(value, Mapping) and set(value) == {
            "value",
            "from",
        }:  # of a setting: where it is from tells
            return {"value": None if value["value"] is None else _MASK, "from": self(value["from"])}
        return _MASK


def _forms(secret: str) -> Iterator[str]:
    """Give a secret as it stands in text, in JSON, and in a URL."""
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield quote(secret, safe="")


def secrets_of(configuration: Configuration) -> set[str]:
    """Tell all secrets that a configuration knows. Blocks: some of them stand in files."""
    found = set(_of_model(configuration.settings))
    password_file = configuration.settings.kafka.sasl_password_file
    if password_file is not None:
        found |= _asked(lambda: read_password(password_file))
    for remote in configuration.connections.remotes:
        found |= _asked(remote.password) | {remote.account or ""}
        if remote.proxy is not None:
            found.add(remote.proxy.password.get_secret_value())
    return found


def _of_model(model: BaseModel) -> Iterator[str]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, SecretStr):
            yield value.get_secret_value()
        elif isinstance(value, BaseModel):
            yield from _of_model(value)


def _asked(secret: Callable[[], str]) -> set[str]:
    try:
        return {secret()}
    except (PoolerError, ValueError):
        return set()  # it cannot be read: so nobody has logged in by it
