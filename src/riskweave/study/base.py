"""What all blocks of a study file have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["Block", "Codes", "Days", "Fraction", "Name", "Positive"]

NAME_PATTERN = r"^[a-z][a-z0-9_]*$"

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""A name that becomes part of a path: lower-case letters, digits and underscores, a letter first."""

Positive = Annotated[int, Field(gt=0)]
Days = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]

Codes = Annotated[list[str], Field(min_length=1)]
"""Codes by prefix. `I21` is every code that starts so, `I21$` exactly this one, `@mi` the code list of that name."""


class Block(BaseModel):
    """A block of the study file: unknown keys are refused, values are not changed once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=False)

    @model_validator(mode="before")
    @classmethod
    def _over_own_defaults(cls, given: object) -> object:
        """Lay what is given of an inner block over this block's default of it, not over the inner class' defaults."""
        if not isinstance(given, dict):
            return given
        laid = {}
        for key, field in cls.model_fields.items():
            if isinstance(field.default, Block) and isinstance(given.get(key), dict):
                own = {name: getattr(field.default, name) for name in type(field.default).model_fields}
                laid[key] = {**own, **given[key]}
        return {**given, **laid}
