"""How a scenario's plan is served."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from staircase.spec.strict import Count, CountFrom0, PositiveSeconds, Strict


class GateSpec(Strict):
    """Requests that one model answers, without drafts; any of these is enough.

    ``shorter_than``: characters of all that the user said. ``matches``: a regular expression that
    is found in the last thing that the user said. ``classifier``: a function of it, as
    ``FILE.py:NAME`` beside the scenario or ``MODULE:NAME``.
    """

    shorter_than: Count | None = None
    matches: Annotated[str, Field(min_length=1)] | None = None
    classifier: str | None = None

    @field_validator("matches")
    @classmethod
    def _check_matches(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from None
        return value

    @field_validator("classifier")
    @classmethod
    def _check_classifier(cls, value: str | None) -> str | None:
        if value is None or re.fullmatch(r"[^:]+:[A-Za-z_]\w*", value):
            return value
        raise ValueError(f"{value!r} must be a function, as in 'gate.py:function'")

    @model_validator(mode="after")
    def _check_given(self) -> Self:
        if not (self.shorter_than or self.matches or self.classifier):
            raise ValueError("must have shorter_than, matches or classifier")
        return self


class ServeSpec(Strict):
    """What ``staircase serve`` does with the plan.

    ``concurrency`` requests are played at a time and ``queue`` more wait. ``deadline_s``: of
    requests that name none. ``adapts``: the more of them wait, the less of the engines a request
    asks. ``shows_drafts``: as reasoning. ``inputs_s``: after so long live inputs are over.
    """

    concurrency: Count = 8
    queue: CountFrom0 = 32
    deadline_s: PositiveSeconds | None = None
    adapts: bool = True
    shows_drafts: bool = False
    inputs_s: PositiveSeconds = 60.0
    gate: GateSpec | None = None
