"""Asks a server, with a few small requests, what it can do."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any, Literal, TypeVar

from executor.openai.server import Server
from executor.openai.server_faults import Patience, ServerError
from executor.openai.server_profile import (
    CONTINUING,
    FIELDS,
    PATHS,
    SALT,
    SCORINGS,
    Api,
    Limit,
    PromptScores,
    ServerProfile,
    ServerRequest,
    request_body,
)
from executor.openai.server_scoring import read_scores, scoring_body
from executor.openai.stream_chunks import Chunk
from executor.prefix import common_prefix

T = TypeVar("T")
# What a server does with the beginning of an answer.
Continued = Literal["goes on", "drops space", "not seen"]
# How servers say that they do not know a path, a field, or a prompt of this kind.
REFUSALS = frozenset({400, 404, 405, 415, 422, 501})
NO_PATH = frozenset({404, 405, 501})
# What some servers answer to a chat with a model that has no chat template.
BROKEN = 500
# Long enough to fill several blocks of a prefix cache: some servers report only what was cached.
# It ends in a line end so that it does not matter whether an answer begins with a space.
TEXT = " ".join(map(str, range(160))) + "\n"
IDS = [1, 2, 3]
TOKENS = 2
# What a server may want at least to be asked for, as OpenAI's newer ones do.
LEAST_TOKENS = (1, 16)
LIMITS: tuple[Limit, ...] = ("max_tokens", "max_completion_tokens")
GREEDY = {"temperature": 0.0}
# Enough tokens that one of them probably begins with a space.
SPACED = 12


@dataclass(frozen=True)
class Probe:
    """``settings`` are fields that the scenario asks for."""

    server: Server
    model: str
    settings: Mapping[str, Any]
    patience: Patience

    async def find(self, apis: Sequence[Api]) -> ServerProfile:
        """What the server can do by the first of ``apis`` that it knows.

        Raises:
            ServerError: it cannot be reached, or knows none of them.
        """
        profile = await self._first(apis)
        profile = replace(profile, fields=await self._fields(profile))
        profile = await self._with_continuing(profile)
        chunks = await self._ask(profile, ServerRequest(TEXT, TOKENS, ignore_end=True))
        usages = [chunk.usage for chunk in chunks if chunk.usage]
        takes_ids = profile.api == "completions" and await self._takes_ids(profile)
        reports_cached = any(usage.cached_tokens is not None for usage in usages)
        return replace(
            profile,
            takes_ids=takes_ids,
            scores=await self._scores() if takes_ids else None,
            returns_ids=any(chunk.token_ids is not None for chunk in chunks),
            reports_cached=reports_cached,
            salts=await self._salts(profile, reports_cached),
        )

    async def takes(self, profile: ServerProfile, fields: Mapping[str, Any]) -> bool:
        """Whether a server that was asked takes more ``fields``."""
        return await self._is_taken(profile, ServerRequest(TEXT, TOKENS), fields)

    async def _first(self, apis: Sequence[Api]) -> ServerProfile:
        faults: list[ServerError] = []
        for api in apis:
            try:
                return await self._with_limit(api)
            except ServerError as fault:
                is_no_chat = api == "chat" and api != apis[-1] and fault.status == BROKEN
                if fault.status not in REFUSALS and not is_no_chat:
                    raise
                faults.append(fault)
        # Rather what is wrong with a request than that there is no such path.
        raise next((fault for fault in faults if fault.status not in NO_PATH), faults[0])

    async def _with_limit(self, api: Api) -> ServerProfile:
        """With the name that the server has for the most tokens, and the least that it takes."""
        faults: list[ServerError] = []
        for least, limit in product(LEAST_TOKENS, LIMITS):
            profile = ServerProfile(api, limit=limit, least_tokens=least)
            try:
                await self._ask(profile, ServerRequest(TEXT, TOKENS))
                return profile
            except ServerError as fault:
                faults.append(fault)
                if fault.status not in REFUSALS or not _is_about_limit(faults[0]):
                    raise
        # Rather what else is wrong with the request.
        raise next((fault for fault in faults if not _is_about_limit(fault)), faults[0])

    async def _fields(self, profile: ServerProfile) -> frozenset[str]:
        """All at once, which lenient servers take; else one by one."""
        names = [name for name in FIELDS if (name == CONTINUING) <= _is_chat(profile)]
        if await self._takes(profile, names):
            return frozenset(names)
        return frozenset([name for name in names if await self._takes(profile, [name])])

    async def _takes(self, profile: ServerProfile, names: Iterable[str]) -> bool:
        extra = {name: FIELDS[name] for name in names}
        own = TEXT[:8] if CONTINUING in extra else ""
        return await self._is_taken(profile, ServerRequest(TEXT, TOKENS, own), extra)

    async def _with_continuing(self, profile: ServerProfile) -> ServerProfile:
        """Lenient chat servers take the field and begin anew, so it is tried what they do.

        Completions are always continued; only the space may be lost.
        """
        if profile.restates:
            return profile
        if not _is_chat(profile):
            loses = await self._if_taken(profile, partial(self._loses_space, profile))
            return replace(profile, drops_space=bool(loses))
        found = await self._if_taken(profile, partial(self._continued, profile))
        if found not in ("goes on", "drops space"):
            return replace(profile, fields=profile.fields - {CONTINUING})
        return replace(profile, drops_space=found == "drops space")

    async def _continued(self, profile: ServerProfile) -> Continued:
        """Asks for an answer to be continued at places within what it once wrote."""
        texts = await self._answer(profile)
        for place in _places(texts):
            own, rest = "".join(texts[:place]), "".join(texts[place:])
            again = await self._ask(profile, ServerRequest(TEXT, SPACED, own), GREEDY)
            found = _how_continued("".join(one.text for one in again), own, rest)
            if found != "not seen":
                return found
        return "not seen"

    async def _loses_space(self, profile: ServerProfile) -> bool:
        """Asks for an answer to be continued just before a space that it once wrote.

        Its first token tells: where the space is lost the words after it are others.
        """
        texts = await self._answer(profile)
        place = next(iter(_spaced(texts)), None)
        if place is None:
            return False
        again = await self._ask(profile, ServerRequest(TEXT, 1, "".join(texts[:place])), GREEDY)
        return "".join(chunk.text for chunk in again).startswith(texts[place][1:])

    async def _answer(self, profile: ServerProfile) -> list[str]:
        """The pieces of a short one."""
        chunks = await self._ask(profile, ServerRequest(TEXT, SPACED), GREEDY)
        return [chunk.text for chunk in chunks if chunk.text]

    async def _salts(self, profile: ServerProfile, reports_cached: bool) -> bool:
        """Whether it knows ``cache_salt``: lenient servers take it and do nothing.

        vLLM refuses an empty one; others show it if they report how much was cached. Each probe
        draws its own salts: the server's cache still knows those of an earlier one.
        """
        ask = ServerRequest(TEXT, TOKENS)
        one, other = ({SALT: secrets.token_hex(8)} for _ in range(2))
        if not await self._is_taken(profile, ask, one):
            return False
        if not await self._is_taken(profile, ask, {SALT: ""}):
            return True
        if not reports_cached:
            return False
        again, apart = [_cached(await self._ask(profile, ask, salt)) for salt in (one, other)]
        return apart < again

    async def _takes_ids(self, profile: ServerProfile) -> bool:
        return await self._is_taken(profile, ServerRequest(IDS, TOKENS), {})

    async def _scores(self) -> PromptScores | None:
        """Lenient servers ignore the fields, so what comes back is checked."""
        for scores in SCORINGS:
            body = scoring_body(self.model, IDS, scores)
            try:
                answer = await self.patience.insist(
                    partial(self.server.fetch, PATHS["completions"], body)
                )
                read_scores(answer, IDS, scores)
                return scores
            except ServerError:
                # A server that refuses may still be used: nothing needs scores to run.
                continue
        return None

    async def _is_taken(
        self, profile: ServerProfile, ask: ServerRequest, extra: Mapping[str, Any]
    ) -> bool:
        attempt = partial(self._ask, profile, ask, extra)
        return await self._if_taken(profile, attempt) is not None

    async def _if_taken(
        self, profile: ServerProfile, attempt: Callable[[], Awaitable[T]]
    ) -> T | None:
        """None where the server does not take it but goes on to take what it took before."""
        try:
            return await attempt()
        except ServerError as fault:
            # Some break in place of refusing.
            if fault.status not in REFUSALS:
                await self._ask(profile, ServerRequest(TEXT, TOKENS))
            return None

    async def _ask(
        self, profile: ServerProfile, ask: ServerRequest, extra: Mapping[str, Any] | None = None
    ) -> list[Chunk]:
        body = request_body(profile, self.model, self.settings, ask) | (extra or {})
        return await self.patience.insist(lambda: self.server.collect(profile.path, body))


def _cached(chunks: Sequence[Chunk]) -> int:
    return max((chunk.usage.cached_tokens or 0 for chunk in chunks if chunk.usage), default=0)


def _is_about_limit(fault: ServerError) -> bool:
    words = str(fault).lower()
    return any(limit in words for limit in (*LIMITS, "max_output_tokens")) or "at least" in words


def _places(texts: Sequence[str]) -> list[int]:
    """Where an answer of these pieces can be cut, before a space if there is one."""
    places = _spaced(texts) or [*range(1, len(texts))]
    return list(dict.fromkeys([*places[:1], *places[-1:]]))


def _how_continued(came: str, own: str, rest: str) -> Continued:
    """A server that begins anew, or says its text again, is told from one that goes on.

    Rounding may change what is written after a while, so only the first word counts.
    """
    whole = (own + rest).strip()
    first = common_prefix(rest, came), common_prefix(rest[1:], came)
    least = len(rest) - len(rest.lstrip()) + len(rest.split()[0]) if rest.strip() else len(rest)
    is_anew = common_prefix(whole, came.lstrip()) > max(first)
    if is_anew:
        return "not seen"
    if first[0] >= least:
        return "goes on"
    return "drops space" if rest.startswith(" ") and first[1] >= least - 1 else "not seen"


def _is_chat(profile: ServerProfile) -> bool:
    return profile.api == "chat"


def _spaced(texts: Sequence[str]) -> list[int]:
    """Pieces after the first that begin with a space before something else."""
    inner = range(1, len(texts))
    return [place for place in inner if texts[place].startswith(" ") and len(texts[place]) > 1]
