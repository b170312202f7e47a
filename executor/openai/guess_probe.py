"""Whether a server can be told guesses in the way that a scenario says, asked as it is opened."""

from __future__ import annotations

from dataclasses import dataclass

from executor.openai.engine import ServerSettings
from executor.openai.judged_guess import JUDGINGS, AskedGuess, JudgedGuess, judge
from executor.openai.probe import TEXT, TOKENS, Probe
from executor.openai.server import Server
from executor.openai.server_faults import ServerError
from executor.openai.server_profile import ServerProfile, ServerRequest, prediction, request_body
from executor.openai.vocabularies import ModelTokens, Vocabulary
from staircase.spec.engine_spec import ServerGuesses

NEEDS_IDS = (
    "needs token ids both ways, which the server does not have; a prediction is text "
    "(guesses: prediction)"
)
OTHERWISE = (
    "the server does not choose by the log-probabilities that it tells: they name {} of the {} "
    "tokens that it wrote; is there a repetition penalty, as generation_config.json may hold one?"
)
# Long enough that a penalty for repetition shows after a text that counts.
WRITTEN = 24


@dataclass(frozen=True)
class GuessProbe:
    """Asks ``server`` as an engine with these ``settings`` will."""

    server: Server
    profile: ServerProfile
    settings: ServerSettings
    vocabulary: Vocabulary

    async def problem(self, guesses: ServerGuesses) -> str | None:
        """Why it cannot, in words."""
        try:
            if guesses == "prediction":
                return await self._no_prediction()
            if not isinstance(self.vocabulary, ModelTokens):
                return NEEDS_IDS
            return await self._no_judgement()
        except ServerError as fault:
            return str(fault)

    async def _no_prediction(self) -> str | None:
        settings = self.settings
        probe = Probe(self.server, settings.model, settings.fields, settings.patience)
        is_taken = await probe.takes(self.profile, prediction(TEXT[:TOKENS]))
        return None if is_taken else "the server does not take a prediction"

    async def _no_judgement(self) -> str | None:
        """Has some tokens written, and then asks for each of them whether it is the likeliest."""
        prompt = self.vocabulary.encode(TEXT)
        written = await self._written(prompt)
        found = await self._judged(prompt, written)
        if found.kept == len(written) or found.near_ties:
            return None
        return OTHERWISE.format(found.kept, len(written))

    async def _written(self, prompt: list[int]) -> list[int]:
        settings, ask = self.settings, ServerRequest(prompt, WRITTEN)
        body = request_body(self.profile, settings.model, settings.fields, ask)
        path = self.profile.path
        chunks = await settings.patience.insist(lambda: self.server.collect(path, body))
        return [token for chunk in chunks for token in self.vocabulary.read(chunk)]

    async def _judged(self, prompt: list[int], written: list[int]) -> JudgedGuess:
        settings = self.settings
        judging = JUDGINGS[settings.guesses or ""]
        asked = AskedGuess(settings.model, prompt, written)
        return await judge(self.server, settings.patience, judging, asked, frozenset())
