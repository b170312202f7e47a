"""From scenario files to servers that were asked what they can do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from executor.embedded_models import MODEL_FOLDERS
from executor.openai.probe import Probe
from executor.openai.server import Address, Network, Server
from executor.openai.server_faults import Patience, ServerError
from executor.openai.server_profile import Api, ServerProfile
from staircase.errors import EngineError, ScenarioError
from staircase.spec.engine_spec import OpenAISpec, ServerSpec

# What a scenario says of these is not dropped in silence.
ASKED_FOR = ("top_p", "top_k", "seed")
# A server that asks for more than this will not be waited for.
MOST_WAIT_S = 60.0


@dataclass(frozen=True)
class Connection:
    """A server, as one engine uses it."""

    server: Server
    profile: ServerProfile


class Connector:
    """Opens one set of connections for each server, and asks each model of it once."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._servers: dict[Address, Server] = {}
        self._profiles: dict[tuple[Address | str, ...], ServerProfile] = {}

    def connect(self, name: str, spec: ServerSpec) -> Connection:
        """The server of engine ``name``.

        Raises:
            ScenarioError: the key is not in the environment; what the environment or ``ca_file``
                says of the way to the server is wrong.
            EngineError: the server cannot be used.
        """
        address = _address(name, spec)
        if address not in self._servers:
            self._servers[address] = self._open(name, address)
        server = self._servers[address]
        key = (address, spec.model, *apis_of(spec))
        if key not in self._profiles:
            self._profiles[key] = self._ask(name, server, spec)
        profile = self._profiles[key]
        for field in ASKED_FOR:
            if field in spec.model_fields_set and field not in profile.fields:
                said = f"{address.base_url} does not take {field}; leave it out"
                raise EngineError(f"engine {name!r}: {said}")
        return Connection(server, profile)

    def _open(self, name: str, address: Address) -> Server:
        try:
            return self._network.server(address)
        except ScenarioError as error:
            raise ScenarioError(f"engine {name!r}: {error}") from None

    def _ask(self, name: str, server: Server, spec: ServerSpec) -> ServerProfile:
        probe = Probe(server, spec.model, fields_of(spec), patience_of(spec))
        try:
            return self._network.run(probe.find(apis_of(spec)))
        except ServerError as fault:
            raise EngineError(f"engine {name!r}: {fault}") from None


def apis_of(spec: ServerSpec) -> list[Api]:
    """In the order in which they are tried.

    Where neither a tokenizer nor the scenario's own format says how the model is talked to, its
    chat API does: a chat model that is given a bare text repeats itself.
    """
    if spec.api != "auto":
        return [spec.api]
    return ["completions", "chat"] if knows_format(spec) else ["chat", "completions"]


def knows_format(spec: ServerSpec) -> bool:
    """Whether the scenario says how the model is talked to."""
    return isinstance(spec, OpenAISpec) and (
        spec.tokenizer is not None or spec.format != "auto" or spec.model in MODEL_FOLDERS
    )


def fields_of(spec: ServerSpec) -> Mapping[str, float]:
    """What every request of this engine says beside its prompt."""
    fields: dict[str, float] = {"temperature": spec.temperature}
    if spec.top_p < 1:
        fields["top_p"] = spec.top_p
    if spec.top_k is not None:
        fields["top_k"] = spec.top_k
    if spec.priority is not None:
        fields["priority"] = spec.priority
    return fields


def patience_of(spec: ServerSpec) -> Patience:
    return Patience(spec.tries, MOST_WAIT_S)


def _address(name: str, spec: ServerSpec) -> Address:
    key = _key(name, spec.api_key_env) if spec.api_key_env else None
    url = spec.base_url.rstrip("/")
    return Address(url, key, spec.timeout_s, spec.connect_timeout_s, spec.ca_file)


def _key(name: str, variable: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ScenarioError(f"engine {name!r}: api_key_env names {variable}, which is not set")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ScenarioError(f"engine {name!r}: what {variable} holds is no key: not plain ASCII")
    return key
