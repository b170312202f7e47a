"""Models on this machine that write nothing and only score texts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from executor.inprocess.model_source import check_sources
from executor.inprocess.models import LoadedModel
from executor.inprocess.opening import scoring_model
from staircase.errors import ModelError
from staircase.spec.scenario import Scenario


@dataclass(frozen=True)
class SpareModel:
    """Is loaded when it is first asked, and once.

    Attributes:
        key: of the scenario, that names it.
    """

    key: str
    name: str

    def load(self) -> LoadedModel:
        """Raises ModelError if it cannot be loaded."""
        return self._model

    @cached_property
    def _model(self) -> LoadedModel:
        try:
            return scoring_model(self.name)
        except ModelError as error:
            raise ModelError(f"{self.key}: {error}") from None


def spare_models(scenario: Scenario) -> dict[str, SpareModel]:
    """By the key that names each; keys with the same model share it.

    Raises:
        ModelError: there is no such file, folder or package.
    """
    check_sources(scenario.scoring_models)
    shared: dict[str, SpareModel] = {}
    return {
        key: shared.setdefault(name, SpareModel(key, name))
        for key, name in scenario.scoring_models.items()
    }
