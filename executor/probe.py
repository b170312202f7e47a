"""Asks a server, with a few small requests, what it can do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from executor.server import Server
from executor.server_faults import Patience, ServerError
from executor.server_profile import (
    FIELDS,
    PATHS,
    SCORINGS,
    Api,
    Ask,
    PromptScores,
    ServerProfile,
    request_body,
)
from executor.server_scoring import read_scores, scoring_body
from executor.stream_chunks import Chunk

# How servers say that they do not know a path, a field, or a prompt of this kind.
REFUSALS = frozenset({400, 404, 405, 415, 422, 501})
NO_PATH = frozenset({404, 405, 501})
# Long enough to fill several blocks of a prefix cache: some servers report only what was cached.
# It ends in a line end so that it does not matter whether an answer begins with a space.
TEXT = " ".join(map(str, range(160))) + "\n"
IDS = [1, 2, 3]
TOKENS = 2
# Tokens among which one is hoped to begin with a space.
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
        profile = replace(profile, drops_space=await self._drops_space(profile))
        chunks = await self._ask(profile, Ask(TEXT, TOKENS, ignore_end=True))
        usages = [chunk.usage for chunk in chunks if chunk.usage]
        takes_ids = profile.api == "completions" and await self._takes_ids(profile)
        return replace(
            profile,
            takes_ids=takes_ids,
            scores=await self._scores() if takes_ids else None,
            returns_ids=any(chunk.token_ids is not None for chunk in chunks),
            reports_usage=bool(usages),
            reports_cached=any(usage.cached_tokens is not None for usage in usages),
            sends_done=chunks[-1].is_last,
        )

    async def _first(self, apis: Sequence[Api]) -> ServerProfile:
        faults: list[ServerError] = []
        for api in apis:
            try:
                return await self._with_limit(api)
            except ServerError as fault:
                if fault.status not in REFUSALS:
                    raise
                faults.append(fault)
        # Rather what is wrong with a request than that there is no such path.
        raise next((fault for fault in faults if fault.status not in NO_PATH), faults[0])

    async def _with_limit(self, api: Api) -> ServerProfile:
        """With the name that the server has for the most tokens."""
        profile = ServerProfile(api)
        try:
            await self._ask(profile, Ask(TEXT, TOKENS))
        except ServerError as fault:
            if fault.status not in REFUSALS or profile.limit not in str(fault):
                raise
            profile = replace(profile, limit="max_completion_tokens")
            await self._ask(profile, Ask(TEXT, TOKENS))
        return profile

    async def _fields(self, profile: ServerProfile) -> frozenset[str]:
        """All at once, which lenient servers take; else one by one."""
        names = [name for name in FIELDS if (name == "continue_final_message") <= _is_chat(profile)]
        if await self._takes(profile, names):
            return frozenset(names)
        return frozenset([name for name in names if await self._takes(profile, [name])])

    async def _takes(self, profile: ServerProfile, names: Iterable[str]) -> bool:
        extra = {name: FIELDS[name] for name in names}
        own = TEXT[:8] if "continue_final_message" in extra else ""
        return await self._is_taken(profile, Ask(TEXT, TOKENS, own), extra)

    async def _drops_space(self, profile: ServerProfile) -> bool:
        """Has an answer continued just before a space that it once wrote."""
        if not profile.continues:
            return False
        greedy = {"temperature": 0.0}
        chunks = await self._ask(profile, Ask(TEXT, SPACED), greedy)
        texts = [chunk.text for chunk in chunks if chunk.text]
        place = next((n for n, text in enumerate(texts) if n and text[0] == " "), None)
        if place is None:
            return False
        own = "".join(texts[:place])
        again = await self._ask(profile, Ask(TEXT, 1, own), greedy)
        return "".join(chunk.text for chunk in again) == texts[place][1:]

    async def _takes_ids(self, profile: ServerProfile) -> bool:
        return await self._is_taken(profile, Ask(IDS, TOKENS), {})

    async def _scores(self) -> PromptScores | None:
        """Lenient servers read over the fields, so what comes back is looked at."""
        for scores in SCORINGS:
            body = scoring_body(self.model, IDS, scores)
            try:
                answer = await self.patience.insist(
                    partial(self.server.fetch, PATHS["completions"], body)
                )
                read_scores(answer, IDS, scores)
                return scores
            except ServerError:
                # Nobody needs it to run, so whatever a server says to it, it may be used.
                continue
        return None

    async def _is_taken(self, profile: ServerProfile, ask: Ask, extra: Mapping[str, Any]) -> bool:
        try:
            await self._ask(profile, ask, extra)
        except ServerError as fault:
            if fault.status not in REFUSALS:
                raise
            return False
        return True

    async def _ask(
        self, profile: ServerProfile, ask: Ask, extra: Mapping[str, Any] | None = None
    ) -> list[Chunk]:
        body = request_body(profile, self.model, self.settings, ask) | (extra or {})
        return await self.patience.insist(lambda: self.server.collect(profile.path, body))


def _is_chat(profile: ServerProfile) -> bool:
    return profile.api == "chat"
