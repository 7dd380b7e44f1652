"""Writes what config.yaml may say from its model: the JSON Schema, and docs/settings.md.

docs/configuration.md tells the same story at length, by hand; these two cannot be behind. What the keys mean
is read from the source when somebody asks: in the model it would cost each start some ten milliseconds.
"""

import ast
import inspect
import json
import sys
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

from pooler.config.section import Section
from pooler.config.settings import Settings

_HEAD = """\
# Settings, key by key

All that config.yaml may say, made from the program itself: `pooler config reference` prints this page, and
`pooler config schema` the same for editors. [Configuration](configuration.md) tells what the keys are good
for, what has to go together, and what the keys of `connections.ini` are. In the environment each key goes by
`POOLER__SECTION__KEY`, such as `POOLER__KAFKA__INPUT_TOPIC`.
"""


def schema() -> dict[str, Any]:
    """Make the JSON Schema (2020-12) of config.yaml, with what each key means."""
    made = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Settings.model_json_schema()}
    for field in Settings.model_fields.values():
        model = type(field.default)
        properties = made["$defs"][model.__name__]["properties"]
        for key, text in _meanings(model).items():
            properties[key]["description"] = text
    return made


def reference() -> str:
    """Write the reference, as Markdown."""
    made = schema()
    lines = [_HEAD]
    for name, field in Settings.model_fields.items():
        section = made["$defs"][type(field.default).__name__]
        lines += [f"## {name}", "", _marked(section["description"]), ""]
        lines += ["| key | what it may be | default | meaning |", "|---|---|---|---|"]
        for key, value in section["properties"].items():
            default = json.dumps(value.get("default"), ensure_ascii=False)
            lines.append(f"| `{key}` | {_kind(value)} | `{default}` | {_marked(value['description'])} |")
        lines.append("")
    return "\n".join(lines)


def _meanings(model: type[Section]) -> dict[str, str]:
    """Read what stands under each key of a section, those that it shares with others included."""
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if issubclass(one, Section):
            found |= _written(sys.modules[one.__module__]).get(one.__name__, {})
    return {key: text for key, text in found.items() if key in model.model_fields}


@cache
def _written(module: ModuleType) -> dict[str, dict[str, str]]:
    """Read the text under each attribute of each class of a module."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef):
            rows = found[node.name] = {}
            for attribute, below in zip(node.body, node.body[1:], strict=False):
                match attribute, below:
                    case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(
                        value=ast.Constant(value=str(text))
                    ):
                        rows[key] = inspect.cleandoc(text)
    return found


def _kind(value: dict[str, Any]) -> str:
    """Tell in words what a value may be."""
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_kind(one) for one in value["anyOf"]))
    if "enum" in value:
        return ", ".join(f"`{one}`" for one in value["enum"])
    if "const" in value:
        return f"`{json.dumps(value['const'])}`"
    kind = {"integer": "whole number", "array": "list", "string": "text", "boolean": "`true`, `false`"}.get(
        value.get("type", "anything"), str(value.get("type", "anything"))
    )
    if value.get("format") in {"path", "password"}:
        kind = value["format"]
    bounds = ", ".join(_bounds(value))
    return f"{kind}, {bounds}" if bounds else kind


def _bounds(value: dict[str, Any]) -> Iterator[str]:
    for name, word in (
        ("minimum", "at least"),
        ("exclusiveMinimum", "above"),
        ("maximum", "at most"),
        ("maxItems", "so many at most:"),
    ):
        if name in value:
            yield f"{word} {value[name]:g}" if value[name] < 10**6 else f"{word} {value[name]}"


def _marked(text: str) -> str:
    """Turn a docstring into Markdown."""
    return " ".join(text.replace("``", "`").replace("|", "\\|").split())
