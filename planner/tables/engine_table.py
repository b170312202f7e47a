"""What a scenario's engines are, and what its servers said they can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.table import Table

from executor.openai.connecting import Connector
from executor.openai.server import Network
from executor.openai.server_profile import SALT, ServerProfile
from staircase.errors import EngineError
from staircase.spec.engine_spec import EngineSpec, OpenAISpec
from staircase.spec.scenario import AnyEngine, Scenario


@dataclass(frozen=True)
class Description:
    """One engine.

    Attributes:
        where: device or URL.
        tokens: ids where they go over the wire both ways, else text.
        goes_on: how an answer goes on after a call, in words.
        fields: optional fields that a server takes, and its name for max_tokens if it is another
            or must be above 1.
        scores: how it tells the log-probabilities of a prompt, which quality is measured by.
        kept_apart: what keeps a measured request from finding another's query or drafts in the
            prefix cache.
        guesses: what is looked up in prompts, or how a server is told what texts will probably be,
            in words; empty where nothing is guessed.
        error: why a server cannot be used.
    """

    name: str
    kind: str
    model: str = ""
    where: str = ""
    api: str = ""
    tokens: str = ""
    takes_ids: bool | None = None
    returns_ids: bool | None = None
    reports_cached: bool | None = None
    continues: bool | None = None
    goes_on: str = ""
    fields: tuple[str, ...] = ()
    scores: str = ""
    kept_apart: str = ""
    guesses: str = ""
    error: str | None = None


def describe_engines(scenario: Scenario) -> list[Description]:
    """Asks every server; one that cannot be used is described by its error.

    Raises:
        ScenarioError: a key is not in the environment.
    """
    with Network() as network:
        connector = Connector(network)
        return [_describe(name, spec, connector) for name, spec in scenario.engines.items()]


def _describe(name: str, spec: AnyEngine, connector: Connector) -> Description:
    if isinstance(spec, EngineSpec):
        return Description(
            name,
            spec.kind,
            spec.model,
            spec.device,
            tokens="ids",
            kept_apart="engine",
            guesses=str(spec.prompt_lookup or ""),
        )
    if not isinstance(spec, OpenAISpec):
        return Description(name, spec.kind)
    try:
        profile = connector.connect(name, spec).profile
    except EngineError as error:
        return Description(name, spec.kind, spec.model, spec.base_url, error=str(error))
    return _described(name, spec, profile)


def _described(name: str, spec: OpenAISpec, profile: ServerProfile) -> Description:
    has_ids = bool(spec.tokenizer) and profile.takes_ids and profile.returns_ids
    return Description(
        name,
        spec.kind,
        spec.model,
        spec.base_url,
        profile.api,
        "ids" if has_ids else "text",
        profile.takes_ids,
        profile.returns_ids,
        profile.reports_cached,
        profile.continues,
        profile.goes_on,
        tuple(sorted(profile.fields | _limit(profile))),
        f"{profile.scores.form}, top {profile.scores.top}" if profile.scores else "",
        SALT if profile.salts else "nonce",
        f"by {spec.guesses}" if spec.guesses else "",
    )


def _limit(profile: ServerProfile) -> set[str]:
    if profile.least_tokens > 1:
        return {f"{profile.limit} from {profile.least_tokens}"}
    return set() if profile.limit == "max_tokens" else {profile.limit}


LINES: Mapping[str, str] = {
    "kind": "kind",
    "model": "model",
    "where": "where",
    "api": "API",
    "tokens": "tokens",
    "takes_ids": "ids in",
    "returns_ids": "ids out",
    "reports_cached": "tells cached",
    "continues": "continues",
    "goes_on": "an answer goes on",
    "fields": "fields",
    "scores": "scores",
    "kept_apart": "measured apart by",
    "guesses": "guesses",
    "error": "error",
}


def engine_table(found: list[Description]) -> Table:
    """One column an engine; lines that say nothing of any are left out."""
    table = Table(title="Engines", title_justify="left")
    for column in ("", *(one.name for one in found)):
        table.add_column(column, overflow="fold")
    for name, words in LINES.items():
        cells = [_cell(getattr(one, name)) for one in found]
        if any(cells):
            table.add_row(words, *cells)
    return table


def _cell(value: str | bool | tuple[str, ...] | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else ", ".join(value)
