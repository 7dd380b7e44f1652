"""pydantic's findings in our words: what was expected, and what stands there instead."""

from collections.abc import Callable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, SecretStr
from pydantic_core import ErrorDetails

from pooler.config.problems import did_you_mean
from pooler.config.yamlfile import Loc

_WHOLE, _NUMBER, _SWITCH, _TEXT = "a whole number", "a number", "true or false", "text"
_EXPECTED: Mapping[str, Callable[[dict[str, Any]], str]] = {
    "int_type": lambda _: _WHOLE,
    "int_parsing": lambda _: _WHOLE,
    "int_parsing_size": lambda _: _WHOLE,
    "int_from_float": lambda _: _WHOLE,
    "float_type": lambda _: _NUMBER,
    "float_parsing": lambda _: _NUMBER,
    "finite_number": lambda _: _NUMBER,
    "bool_type": lambda _: _SWITCH,
    "bool_parsing": lambda _: _SWITCH,
    "string_type": lambda _: _TEXT,
    "path_type": lambda _: _TEXT,
    "string_too_short": lambda _: "some text",
    "tuple_type": lambda _: "a list, or one text with commas",
    "literal_error": lambda context: str(context["expected"]),
    "greater_than_equal": lambda context: f"at least {context['ge']}",
    "greater_than": lambda context: f"more than {context['gt']:g}",
    "less_than_equal": lambda context: f"at most {context['le']}",
}
_SHOWN_CHARACTERS = 60


def explain(detail: ErrorDetails, root: type[BaseModel]) -> str:
    """Say what is wrong with one value.

    Args:
        detail: one of pydantic's findings.
        root: the model that was asked for.

    Returns:
        Such as ``expected a whole number, got 'many'``, without the place.
    """
    loc, kind, context = detail["loc"], detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        what = "section" if len(loc) == 1 else "key"
        return f"not a known {what}{did_you_mean(str(loc[-1]), _model(root, loc[:-1]).model_fields)}"
    if kind == "value_error":  # one of our own validators, in our own words
        return str(context["error"])
    got = "***" if _is_secret(root, loc) else _shown(detail["input"])
    if kind == "model_type":
        return f"expected keys below it, such as {next(iter(_model(root, loc).model_fields))}, got {got}"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind](context)}, got {got}"
    return f"{detail['msg']}, got {got}"  # such as bytes in the environment that are no text


def _shown(value: Any) -> str:
    """Show a value as YAML has it, and never much of it."""
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."


def _is_secret(root: type[BaseModel], loc: Loc) -> bool:
    """Whether a value is never shown: a password that YAML takes for a number is a mistake, and secret."""
    kind: Any = root
    for step in loc:
        field = getattr(kind, "model_fields", {}).get(step)
        if field is None:
            return False
        kind, secret = type(field.default), SecretStr in get_args(field.annotation)
    return secret


def _model(root: type[BaseModel], loc: Loc) -> type[BaseModel]:
    model = root
    for step in loc:
        model = type(model.model_fields[str(step)].default)
    return model
