"""config.yaml as plain values, and where each of them stands."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from pooler.config.expand import expand
from pooler.config.problems import Place, Problems

Loc = tuple[str | int, ...]

# Sections, their keys, and lists in them; deeper than this there is nothing to say, and an alias of a value
# inside itself would have no end.
_DEEPEST = 8


@dataclass(frozen=True, slots=True)
class Document:
    """A configuration before it is checked.

    Attributes:
        values: sections, keys, values, in plain types.
        keys: where each key begins, by its path.
        places: where each value begins, by its path.
    """

    values: dict[str, Any] = field(default_factory=dict)
    keys: dict[Loc, Place] = field(default_factory=dict)
    places: dict[Loc, Place] = field(default_factory=dict)


def parse(text: str, file: str, environ: Mapping[str, str], problems: Problems) -> Document:
    """Read the text of a YAML file.

    Args:
        text: the file, decoded.
        file: its path, as mistakes are to name it.
        environ: the environment, for ``${NAME}`` in texts.
        problems: gets the mistakes.

    Returns:
        What could be read; nothing where the file is empty or broken.
    """
    document = Document()
    yaml = YAML(typ="safe", pure=True)
    yaml.composer.warn_double_anchors = False  # YAML allows a name to be given again
    try:
        node = yaml.compose(io.StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
        problems.add(place, f"not YAML: {' '.join(filter(None, (error.context, error.problem)))}")
        return document
    except (YAMLError, RecursionError, ValueError) as error:
        problems.add(Place(file), f"not YAML: {' '.join(str(error).split())}")
        return document
    if node is None or _nothing(node):
        return document
    reader = _Reader(yaml, file, environ, problems, document)
    if isinstance(node, MappingNode):
        document.values.update(reader.value(node, ()))
    else:
        problems.add(reader.place(node), "expected sections, such as kafka and pool")
    return document


class _Reader:
    """Turns nodes into plain values; a method for each kind of node."""

    def __init__(
        self, yaml: YAML, file: str, environ: Mapping[str, str], problems: Problems, document: Document
    ) -> None:
        self._yaml = yaml
        self._file = file
        self._environ = environ
        self._problems = problems
        self._document = document

    def place(self, node: Node) -> Place:
        return Place(self._file, node.start_mark.line + 1, node.start_mark.column + 1)

    def value(self, node: Node, loc: Loc) -> Any:
        self._document.places[loc] = self.place(node)
        if len(loc) > _DEEPEST:
            self._problems.add(self.place(node), f"{dotted(loc)}: too deep")
            return None
        if isinstance(node, MappingNode):
            return dict(self._items(node, loc))
        if isinstance(node, SequenceNode):
            return [self.value(item, (*loc, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, loc)

    def _items(self, node: MappingNode, loc: Loc) -> Iterator[tuple[str, Any]]:
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self._problems.add(self.place(key_node), "expected a key")
                continue
            key = str(key_node.value)
            below = (*loc, key)
            if below in self._document.keys:
                line = self._document.keys[below].line
                self._problems.add(self.place(key_node), f"{dotted(below)}: stands in line {line} already")
                continue
            self._document.keys[below] = self.place(key_node)
            yield key, self.value(value_node, below)
            if _nothing(value_node):  # which the parser finds behind the line, or lines below
                self._document.places[below] = self._document.keys[below]

    def _scalar(self, node: Node, loc: Loc) -> Any:
        try:
            value = self._yaml.constructor.construct_object(node)
        except (YAMLError, ValueError) as error:
            reason = error.problem if isinstance(error, MarkedYAMLError) else str(error)
            self._problems.add(self.place(node), f"{dotted(loc)}: not understood: {reason}")
            return None
        if isinstance(value, str):
            return expand(value, self._environ, self.place(node), dotted(loc), self._problems)
        return value


def _nothing(node: Node) -> bool:
    return isinstance(node, ScalarNode) and bool(node.start_mark.index == node.end_mark.index)


def dotted(loc: Loc) -> str:
    """Write a path as people do: ``kafka.bootstrap_servers[0]``."""
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc]
    return "".join(steps).removeprefix(".")
