"""A judge behind an OpenAI-compatible server: asks about games, and remembers the replies."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from executor.openai.connecting import Connection, Connector, fields_of, patience_of
from executor.openai.server import Network
from executor.openai.server_faults import ServerError
from executor.openai.server_profile import ServerRequest, request_body
from executor.scoring.verdicts import Pairing, Ruling, read_reply
from staircase.errors import RecordError
from staircase.files import first_error, read_json_lines
from staircase.spec.engine_spec import JudgeSpec

_RULING = TypeAdapter(Ruling)


class JudgementBook:
    """Rulings by key, in a JSON-lines file that only grows.

    A line that an interrupt cut off is dropped, and its game asked again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rulings: dict[str, Ruling] = {}
        if path.is_file():
            self._mend()
            self._read()

    def get(self, key: str) -> Ruling | None:
        return self._rulings.get(key)

    def add(self, key: str, ruling: Ruling) -> None:
        self._rulings[key] = ruling
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, **asdict(ruling)}) + "\n")

    def _mend(self) -> None:
        content = self._path.read_bytes()
        if content and not content.endswith(b"\n"):
            with self._path.open("r+b") as file:
                file.truncate(content.rfind(b"\n") + 1)

    def _read(self) -> None:
        for place, entry in read_json_lines(self._path, RecordError, "a file of judgements"):
            if not isinstance(entry, dict) or not isinstance(entry.get("key"), str):
                raise RecordError(f"{place}: must be an object with a key, as 'judge' writes it")
            try:
                self._rulings[entry.pop("key")] = _RULING.validate_python(entry)
            except ValidationError as error:
                raise RecordError(f"{place}: {first_error(error)}") from None


class Judge:
    """Rules on games; only those are asked about whose reply is not in ``path`` yet.

    Replies go to ``path`` as they come, so after an interrupt the rest is asked the next time.
    Failed calls do not, and are made again then.

    Raises:
        RecordError: ``path`` is no file of judgements.
    """

    def __init__(self, spec: JudgeSpec, path: Path) -> None:
        self._spec = spec
        self._book = JudgementBook(path)

    def unasked(self, games: Sequence[Pairing]) -> dict[str, Pairing]:
        """The games that would be asked about, by key, each once."""
        keys = {self._key(game): game for game in games if game.first != game.second}
        return {key: game for key, game in keys.items() if self._book.get(key) is None}

    def rule(
        self, games: Sequence[Pairing], on_done: Callable[[], None] = lambda: None
    ) -> list[Ruling]:
        """A ruling for each game.

        Raises:
            ScenarioError: the key is not in the environment.
            EngineError: the server cannot be used.
        """
        unasked = self.unasked(games)
        asked = self._ask(unasked, on_done) if unasked else {}
        return [self._ruling(game, asked) for game in games]

    def _ruling(self, game: Pairing, asked: Mapping[str, Ruling]) -> Ruling:
        if game.first == game.second:
            return Ruling("identical", 0)
        key = self._key(game)
        return self._book.get(key) or asked[key]

    def _key(self, game: Pairing) -> str:
        """Changes with the judge, its settings, the prompt's words, question and answers."""
        spec = self._spec
        judge = [spec.base_url, spec.model, spec.temperature, spec.max_tokens]
        return hashlib.sha256(json.dumps([*judge, game.prompt]).encode()).hexdigest()[:32]

    def _ask(self, games: Mapping[str, Pairing], on_done: Callable[[], None]) -> dict[str, Ruling]:
        with Network() as network:
            caller = _Caller(self._spec, Connector(network).connect("judge", self._spec))
            return network.run(self._ask_all(caller, games, on_done))

    async def _ask_all(
        self, caller: _Caller, games: Mapping[str, Pairing], on_done: Callable[[], None]
    ) -> dict[str, Ruling]:
        async def ask(key: str) -> Ruling:
            ruling = await caller.ask(games[key])
            if ruling.fate != "failed":
                self._book.add(key, ruling)
            on_done()
            return ruling

        return dict(zip(games, await asyncio.gather(*map(ask, games)), strict=True))


class _Caller:
    """Asks the judge's server, ``max_concurrency`` calls at a time."""

    def __init__(self, spec: JudgeSpec, connection: Connection) -> None:
        self._spec = spec
        self._connection = connection
        self._seats = asyncio.Semaphore(spec.max_concurrency)

    async def ask(self, game: Pairing) -> Ruling:
        server, profile = self._connection.server, self._connection.profile
        ask = ServerRequest(game.prompt, self._spec.max_tokens)
        body = request_body(profile, self._spec.model, fields_of(self._spec), ask)
        async with self._seats:
            try:
                chunks = await patience_of(self._spec).insist(
                    lambda: server.collect(profile.path, body)
                )
            except ServerError as fault:
                return Ruling("failed", None, str(fault))
        words = "".join(chunk.text for chunk in chunks)
        return read_reply(words, any(chunk.is_refusal for chunk in chunks))
