"""Read a study file: YAML in which no key is given twice."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from riskweave.errors import StudyError

__all__ = ["read_mapping"]


class _UniqueKeys(yaml.SafeLoader):
    """YAML loader that refuses a key given twice: plain YAML drops the first, and with it an experiment or a model."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            key = None if key_node.tag.endswith(":merge") else self.construct_object(key_node, deep=True)
            if key is None or not isinstance(key, Hashable):
                continue
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key!r} is given twice in one block", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _where(error: yaml.YAMLError) -> str:
    """Say in a line what is wrong with the YAML, and where."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem or 'cannot be read'}"


def read_mapping(path: str | Path, what: str = "study file") -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Parameters
    ----------
    path : str or Path
        The file, in UTF-8.
    what : str
        What messages call it.

    Raises
    ------
    StudyError
        When the file is missing, is not YAML (with line and column), gives a key twice, or is not a mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise StudyError(f"{path}: there is no such {what}. Give the path of a YAML file")
    try:
        content = yaml.load(
            path.read_text(encoding="utf-8"), Loader=_UniqueKeys
        )  # a SafeLoader: makes plain values only
    except yaml.YAMLError as error:
        raise StudyError(f"{path} is not valid YAML: {_where(error)}") from None
    except UnicodeDecodeError:
        raise StudyError(f"{path} is not valid YAML: it is not text in UTF-8. Save it in UTF-8") from None
    if not isinstance(content, dict):
        raise StudyError(f"{path}: a {what} is a YAML mapping of keys to values")
    return content
