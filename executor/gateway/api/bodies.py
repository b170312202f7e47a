"""Bodies of requests, as clients of OpenAI's API and of vLLM's send them.

Unknown fields are accepted. Known ones are honoured or refused: ``EFFECTLESS`` names those that are
refused unless their value changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from staircase.bounds import LONGEST_RUN_S, MOST_TEMPERATURE, MOST_TOKENS

MOST_STOPS = 16
LONGEST_STOP = 256
MOST_MESSAGES = 1000
# Of one request, and of what is said of one input at a time, in letters.
MOST_LIVE = 16
LONGEST_INPUT = 1 << 15
# Of seeds, as OpenAI's API takes them: 64 bits.
FARTHEST_SEED = 1 << 63

StopText = Annotated[str, Field(min_length=1, max_length=LONGEST_STOP)]

# Fields that are not honoured, and the values of each that change nothing beside null.
EFFECTLESS: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "prompt_logprobs": (False,),
    "echo": (False,),
    "suffix": ("",),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "length_penalty": (1,),
    "min_p": (0,),
    "use_beam_search": (False,),
    "stop_token_ids": ([],),
    "bad_words": ([],),
    "include_stop_str_in_output": (False,),
    "response_format": ({"type": "text"},),
    "structured_outputs": ({},),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "reasoning_effort": (),
    "verbosity": (),
    "web_search_options": (),
    "chat_template": (),
    "chat_template_kwargs": ({},),
    "continue_final_message": (False,),
    "add_generation_prompt": (True,),
}


class Lenient(BaseModel):
    """A part of a body."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


class StreamOptions(Lenient):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class TextContent(Lenient):
    type: str
    text: str | None = None


class Message(Lenient):
    role: str
    content: str | list[TextContent] | None = None


class Body(Lenient):
    """What both endpoints take."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None
    min_tokens: Annotated[int, Field(ge=0, le=MOST_TOKENS)] | None = None
    ignore_eos: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=MOST_TEMPERATURE)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=MOST_TOKENS)] | None = None
    seed: Annotated[int, Field(ge=-FARTHEST_SEED, lt=FARTHEST_SEED)] | None = None
    stop: StopText | Annotated[list[StopText], Field(max_length=MOST_STOPS)] | None = None
    deadline_s: Annotated[float, Field(gt=0, le=LONGEST_RUN_S)] | None = Field(
        default=None, description="When the answer shall be there, in seconds from its request."
    )
    inputs: dict[str, str] | None = Field(
        default=None,
        description="By agent, what it is asked in place of the last thing said; what comes as the "
        "plan's inputs.",
    )
    live_inputs: Annotated[list[str], Field(max_length=MOST_LIVE)] | None = Field(
        default=None, description="Inputs that are said at /v1/inputs/ID, ID being the answer's."
    )
    corrections: bool | None = Field(
        default=None, description="Text may be sent that is taken back, as staircase.keeps says."
    )


class InputBody(Lenient):
    """Of /v1/inputs/ID: what is there by now of an input, all of it."""

    input: str
    text: Annotated[str, Field(max_length=LONGEST_INPUT)] | None = Field(
        default=None, description="All that is there by now; null: as before."
    )
    is_last: bool | None = Field(default=None, description="Nothing more comes.")


class ChatBody(Body):
    """Of /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MOST_MESSAGES)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None


class CompletionBody(Body):
    """Of /v1/completions."""

    prompt: str | list[str] | list[int] | list[list[int]]


Kind = Literal["chat", "text"]
