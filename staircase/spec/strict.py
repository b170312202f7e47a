"""What all parts of a scenario file share: strictness, and types of numbers with their bounds."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from staircase.bounds import (
    LEAST_RATE,
    LONGEST_NAME,
    LONGEST_RUN_S,
    MOST,
    MOST_RATE,
    MOST_SEED,
    MOST_SPREAD,
    MOST_TOKENS,
)
from staircase.errors import ScenarioError
from staircase.files import first_error

Count = Annotated[int, Field(ge=1, le=MOST)]
CountFrom0 = Annotated[int, Field(ge=0, le=MOST)]
Tokens = Annotated[int, Field(ge=1, le=MOST_TOKENS)]
TokensFrom0 = Annotated[int, Field(ge=0, le=MOST_TOKENS)]
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]
Seconds = Annotated[float, Field(ge=0, le=LONGEST_RUN_S)]
PositiveSeconds = Annotated[float, Field(gt=0, le=LONGEST_RUN_S)]
Rate = Annotated[float, Field(ge=LEAST_RATE, le=MOST_RATE)]
# Of a lognormal: the standard deviation of the logarithm.
Spread = Annotated[float, Field(ge=0, le=MOST_SPREAD)]


def _folder_name(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or not name.isprintable():
        raise ValueError(f"{name!r} must be a word that can name a folder, without '/'")
    if len(name.encode()) > LONGEST_NAME:
        raise ValueError(f"must have at most {LONGEST_NAME} bytes, has {len(name.encode())}")
    return name


FolderName = Annotated[str, AfterValidator(_folder_name)]


class Strict(BaseModel):
    """A part of a scenario file: unknown keys are errors that name the nearest known one."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            raise ValueError(f"must be a mapping with keys {', '.join(cls.model_fields)}")
        for key in data:
            if key not in cls.model_fields:
                near = difflib.get_close_matches(str(key), cls.model_fields, n=1)
                known = ", ".join(cls.model_fields)
                hint = f"did you mean {near[0]!r}?" if near else f"known keys: {known}"
                raise ValueError(f"unknown key {key!r}; {hint}")
        return data


Spec = TypeVar("Spec", bound=Strict)


def changed_spec(key: str, spec: Spec, changes: Mapping[str, Any]) -> Spec:
    """A scenario's part ``key`` with some settings changed, which are checked as in a file.

    Raises:
        ScenarioError: one is wrong: one line with its key and what would be right.
    """
    try:
        return type(spec).model_validate({**spec.model_dump(exclude_unset=True), **changes})
    except ValidationError as error:
        raise ScenarioError(f"{key}.{first_error(error)}") from None
