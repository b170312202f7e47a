"""YAML files, in which a key stands once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from staircase.errors import ScenarioError
from staircase.files import read_text


class _Loader(yaml.SafeLoader):
    """Tells of a key that is given twice, of which YAML's own loader takes the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        self._check_keys(node)
        return node

    @staticmethod
    def _check_keys(node: yaml.MappingNode) -> None:
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            word, line = (key.tag, key.value), key.start_mark.line + 1
            if word in lines:
                raise ConstructorError(
                    problem=f"{key.value!r} is given twice, first in line {lines[word]}; keep one",
                    problem_mark=key.start_mark,
                )
            lines[word] = line


def read_yaml(path: Path) -> Any:
    """What the file in ``path`` holds.

    Raises:
        ScenarioError: one line with the file and the line in it.
    """
    text = read_text(path, ScenarioError, "a scenario file (YAML)")
    try:
        return yaml.load(text, _Loader)
    except ConstructorError as error:
        raise ScenarioError(f"{path}{_line(error)}: {_problem(error)}") from None
    except yaml.YAMLError as error:
        raise ScenarioError(f"{path}{_line(error)}: not YAML ({_problem(error)})") from None
    except RecursionError:
        raise ScenarioError(f"{path}: not a scenario: its lists or mappings are too deep") from None
    except (ValueError, OverflowError) as error:
        # Of dates and numbers that YAML knows and Python does not.
        raise ScenarioError(f"{path}: holds a date or number out of range ({error})") from None


def _line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f", line {mark.line + 1}" if mark else ""


def _problem(error: yaml.YAMLError) -> str:
    return getattr(error, "problem", None) or getattr(error, "reason", None) or "not readable"
