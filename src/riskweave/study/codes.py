"""Codes in a study file: prefixes, exact codes, and code lists kept in files with their source and version.

A code list is a YAML file::

    source: ICD-10-CM 2025, chapter IX
    version: "2025"
    codes: # a list of codes by prefix, or a mapping of each to what it means
      ICD10//I21: Acute myocardial infarction
      ICD10//I22: Subsequent myocardial infarction

In the study, ``code_lists: {mi: config/codes/mi.yaml}`` names it, and ``@mi`` stands for its codes wherever
codes are listed. Lists are read when the study is: what runs depends on their codes, not on their files.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from riskweave.errors import StudyError, nearest
from riskweave.study.files import read_mapping

__all__ = ["read_code_list", "resolve_lists", "within"]

_KEYS = ("codes", "target", "competing")
_ALLOWED = "Allowed: source, version, codes"


def read_code_list(path: str | Path) -> list[str]:
    """Read the codes of a code list.

    Raises
    ------
    StudyError
        When the file is missing, is no YAML mapping, has no source, version or codes, or repeats a code.
    """
    content = read_mapping(path, "code list")
    unknown = sorted(set(content) - {"source", "version", "codes"})
    if unknown:
        raise StudyError(f"{path}: unknown key {unknown[0]!r} in a code list. {_ALLOWED}")
    for key in ("source", "version"):
        if not isinstance(content.get(key), str) or not content[key].strip():
            raise StudyError(f"{path}: a code list says its `{key}`, as text in quotes. {_ALLOWED}")
    codes = content.get("codes")
    codes = list(codes) if isinstance(codes, list | Mapping) else []
    if not codes or not all(isinstance(code, str) and code.strip("$") for code in codes):
        raise StudyError(
            f"{path}: `codes` needs at least one code, each as text: put numbers such as 410 or 041.2 in quotes"
        )
    repeated = sorted({code for code in codes if codes.count(code) > 1})
    if repeated:
        raise StudyError(f"{path}: `codes` names {', '.join(repeated)} twice. Name each code once")
    return codes


def within(pattern: str, other: str) -> bool:
    """Tell whether every code that a pattern stands for is one of another's (``I21.4`` within ``I21``)."""
    if other.endswith("$"):
        return pattern == other
    return pattern.removesuffix("$").startswith(other)


def resolve_lists(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a study file with every ``@name`` replaced by the codes of that list.

    A list among competing events stays one cause. Aggregates of a single list are named after it.

    Raises
    ------
    StudyError
        When a list is not defined under `code_lists`, or its file cannot be used.
    """
    lists = config.get("code_lists") or {}
    if not isinstance(lists, Mapping):
        return dict(config)
    read: dict[str, list[str]] = {}

    def codes_of(reference: str, key: str) -> list[str]:
        name = reference[1:]
        if name not in lists:
            allowed = ", ".join(map(str, lists)) or "none: add it under `code_lists`"
            raise StudyError(
                f"{key}: there is no code list {name!r}.{nearest(name, map(str, lists))} Allowed: {allowed}"
            )
        if name not in read:
            read[name] = read_code_list(lists[name])
        return read[name]

    return {key: value if key == "code_lists" else _walk(value, key, codes_of) for key, value in config.items()}


def _walk(value: Any, key: str, codes_of: Callable[[str, str], list[str]]) -> Any:
    if isinstance(value, Mapping):
        made = {}
        for name, inner in value.items():
            place = f"{key}.{name}"
            if name in _KEYS and isinstance(inner, list):
                made[name] = _replaced(inner, place, codes_of, nested=name == "competing")
            else:
                made[name] = _walk(inner, place, codes_of)
        codes = value.get("codes")
        single = isinstance(codes, list) and len(codes) == 1 and isinstance(codes[0], str) and codes[0][:1] == "@"
        if single and "aggregates" in value and not value.get("by_code"):
            made.setdefault("name", codes[0][1:])
        return made
    if isinstance(value, list):
        return [_walk(inner, f"{key}[{place}]", codes_of) for place, inner in enumerate(value)]
    return value


def _replaced(codes: Sequence[Any], key: str, codes_of: Callable[[str, str], list[str]], *, nested: bool) -> list[Any]:
    made: list[Any] = []
    for code in codes:
        if isinstance(code, list):
            made.append(_replaced(code, key, codes_of, nested=False))
        elif isinstance(code, str) and code.startswith("@"):
            found = codes_of(code, key)
            made.extend([found] if nested else found)
        else:
            made.append(code)
    return made
