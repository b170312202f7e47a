"""A published figure beside its forecast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Basis = Literal["follows", "restated", "cross-checked"]
CLOSE = 0.15


@dataclass(frozen=True)
class Forecast:
    """A figure, and what simulator, roofline or formula make of its published conditions.

    Attributes:
        basis: ``restated`` where the forecast is the authors' own formula, or a quotient of two of
            their figures; ``cross-checked`` where one other figure of theirs fixes a parameter.
    """

    system: str
    what: str
    published: float
    forecast: float
    unit: str = ""
    basis: Basis = "follows"

    @property
    def error(self) -> float:
        return self.forecast / self.published - 1

    @property
    def how(self) -> str:
        return self.basis if abs(self.error) <= CLOSE else "misses"

    @property
    def cells(self) -> tuple[str, ...]:
        figures = (f"{value:,.4g}{self.unit}" for value in (self.published, self.forecast))
        published, forecast = figures
        return self.system, f"{self.what}: {published}", forecast, f"{self.error:+.0%}", self.how


@dataclass(frozen=True)
class Said:
    """A figure of which something else is said.

    Attributes:
        how: what it needs is ``implied``; or it is a bound, which ``holds``; or there is no figure
            that could be verified, so the forecast stands alone.
    """

    system: str
    published: str
    found: str
    how: Literal["implied", "holds", "alone"] = "implied"

    @property
    def cells(self) -> tuple[str, ...]:
        return self.system, self.published, self.found, "", self.how


Row = Forecast | Said
