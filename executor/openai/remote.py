"""The engines of a scenario that are behind servers, opened."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from executor.inprocess.models import load_tokenizer
from executor.openai.connecting import Connector, fields_of, patience_of
from executor.openai.engine import OpenAIEngine, ServerSettings
from executor.openai.guess_probe import GuessProbe
from executor.openai.server import Network
from executor.openai.server_profile import ServerProfile
from executor.openai.vocabularies import ModelTokens, TextPieces, Vocabulary, token_borders
from executor.tokens.token_ids import vocabulary_of
from staircase.errors import EngineError
from staircase.spec.engine_spec import OpenAISpec


def open_remote(
    stack: ExitStack, specs: Mapping[str, OpenAISpec], is_measured: bool
) -> dict[str, OpenAIEngine]:
    """Engines by name; ``stack`` closes their connections.

    Where ``is_measured``, requests are kept apart by salt if the server has it.

    Raises:
        ScenarioError: a key is not in the environment.
        ModelError: a tokenizer cannot be loaded.
        EngineError: a server cannot be used.
    """
    if not specs:
        return {}
    network = stack.enter_context(Network())
    connector = Connector(network)
    return {
        name: _open(name, spec, network, connector, is_measured) for name, spec in specs.items()
    }


def _open(
    name: str, spec: OpenAISpec, network: Network, connector: Connector, is_measured: bool
) -> OpenAIEngine:
    connection = connector.connect(name, spec)
    settings = ServerSettings(
        spec.model,
        fields_of(spec),
        patience_of(spec),
        spec.max_concurrency,
        spec.seed if spec.temperature else None,
        is_measured and connection.profile.salts,
        spec.guesses,
    )
    vocabulary = vocabulary_for(name, spec.tokenizer, connection.profile)
    if spec.guesses:
        probe = GuessProbe(connection.server, connection.profile, settings, vocabulary)
        problem = network.run(probe.problem(spec.guesses))
        if problem:
            raise EngineError(f"engine {name!r}: guesses: {spec.guesses}: {problem}")
    return OpenAIEngine(network, connection.server, connection.profile, settings, vocabulary)


def vocabulary_for(name: str, tokenizer: str | None, profile: ServerProfile) -> Vocabulary:
    """The model's own tokens where ids go both ways; else pieces of text, of this engine alone."""
    pieces = f"text of {name}"
    if tokenizer is None:
        return TextPieces(pieces)
    loaded = load_tokenizer(tokenizer)
    if profile.takes_ids and profile.returns_ids:
        return ModelTokens(vocabulary_of(loaded), loaded)
    return TextPieces(pieces, token_borders(loaded), loaded)
