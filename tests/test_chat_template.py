"""Prompts in a chat template are the conversations that ``apply_chat_template`` makes."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tokenizers.processors import TemplateProcessing

from executor.engine import Tokens
from executor.prompts.as_read import as_read
from executor.prompts.prompt_formats import form_of
from executor.tokens.chat_template import (
    INTRODUCTION,
    LABEL,
    MORE,
    QUESTION,
    REQUEST,
    ChatFormat,
    chat_format,
    find_turns,
)
from executor.tokens.rendering import PromptFormat, fixed_ids, fixed_texts, render
from executor.tokens.token_ids import ContentEncoder, special_ids_of
from staircase.pipeline import Agent
from staircase.prompt import Round, build_prompt
from staircase.schedule import LAYOUTS, Layout
from staircase.spec.engine_spec import EngineSpec
from tests.support.chat_tokenizers import SHAPES, SYSTEM, chat_tokenizer, sentences
from tests.support.smollm2 import needs_smollm2

SOURCES = ("ann", "bo")
QUERY = "How long does a reader wait, and why?"
WORDS = sorted({word for word in re.findall(r"[A-Za-z]+", sentences()) if len(word) > 2})
Messages = list[dict[str, str]]
names = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=needs_smollm2 if n == "SmolLM2" else ()) for n in SHAPES]
)


@dataclass(frozen=True)
class Codec:
    tokenizer: Any

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def encode_content(self, text: str) -> list[int]:
        return ContentEncoder(self.tokenizer).encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))


@dataclass(frozen=True)
class History:
    """What an agent read and wrote; ``own`` by round, each part ended by the round after it."""

    role: str
    drafts: list[list[int]]
    rounds: list[Round]
    own: list[str]


@st.composite
def histories(draw: st.DrawFn, name: str, cut: Callable[[Codec, list[int], int], bool]) -> History:
    """Every round shows something of each draft."""
    codec = Codec(chat_tokenizer(name))
    count = draw(st.integers(1, 3))
    drafts, cuts = [], []
    for _ in SOURCES:
        start = draw(st.integers(0, 3000))
        text = sentences()[start : start + draw(st.integers(200, 600))].strip()
        ids = codec.encode(text)
        places = [place for place in range(1, len(ids)) if cut(codec, ids, place)]
        assume(len(places) >= count)
        found = st.lists(st.sampled_from(places), min_size=count, max_size=count, unique=True)
        drafts.append(ids)
        cuts.append(sorted(draw(found)))
    phrase = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join)
    own = [*draw(st.lists(phrase, min_size=count - 1, max_size=count - 1)), ""]
    own[-1] = draw(phrase | st.just(""))
    written = [0]
    for part in own:
        ids = codec.encode(SHAPES[name].lead + part if part else "")
        written.append(written[-1] + len(ids))
    rounds = [Round(read, at) for read, at in zip(zip(*cuts, strict=True), written, strict=False)]
    return History(
        draw(st.sampled_from(["", "You edit.", " Say it\nplainly "])), drafts, rounds, own
    )


def between_words(codec: Codec, ids: list[int], place: int) -> bool:
    return bool(re.match(r" \S", codec.decode(ids[place:]))) and not codec.decode(
        ids[:place]
    ).endswith((" ", "\n"))


def anywhere(codec: Codec, ids: list[int], place: int) -> bool:
    return True


def prompt_ids(name: str, history: History, layout: Layout) -> list[int]:
    """As the executor makes them."""
    codec, form = Codec(chat_tokenizer(name)), chat_format(chat_tokenizer(name))
    agent = Agent("z", reads=SOURCES, role=history.role)
    ids: dict[str, list[int]] = fixed_ids(agent, QUERY, form, codec)
    ids |= dict(zip(SOURCES, history.drafts, strict=True))
    lead = SHAPES[name].lead
    ids["z"] = [token for part in history.own if part for token in codec.encode(lead + part)]
    lengths = {text: len(tokens) for text, tokens in ids.items()}
    prompt = build_prompt("z", SOURCES, history.rounds, len(ids["z"]), layout, lengths)
    return render(prompt, ids)


EARLIER = (("Who reads?", "A reader does."), (" And who writes?\n", "Others do. "))


@names
@pytest.mark.parametrize("role", ["", "You edit."])
@pytest.mark.parametrize("reads", [(), SOURCES], ids=["alone", "reader"])
def test_earlier_turns_are_those_of_the_template(
    name: str, role: str, reads: tuple[str, ...]
) -> None:
    tokenizer = chat_tokenizer(name)
    codec, form = Codec(tokenizer), chat_format(tokenizer)
    agent = Agent("z", reads=reads, role=role)
    ids = fixed_ids(agent, QUERY, form, codec, EARLIER)
    asked = [ids["header/z"], ids["query/z"], ids["own/z"]]
    content = QUERY
    if reads:
        content = f"{INTRODUCTION}{form.gap}{QUESTION.format(query=QUERY)}{form.gap}{REQUEST}"
    first = EARLIER[0][0] if name in SYSTEM or not role else f"{role}\n\n{EARLIER[0][0]}"
    said = [{"role": "system", "content": role}] if name in SYSTEM and role else []
    said += [
        {"role": "user", "content": first},
        {"role": "assistant", "content": EARLIER[0][1]},
        {"role": "user", "content": EARLIER[1][0].strip()},
        {"role": "assistant", "content": EARLIER[1][1].strip()},
        {"role": "user", "content": content},
    ]
    expected = tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
    assert [token for part in asked for token in part] == codec.encode(expected)


@names
def test_earlier_turns_cannot_spell_special_tokens(name: str) -> None:
    tokenizer = chat_tokenizer(name)
    codec, form = Codec(tokenizer), chat_format(tokenizer)
    special = SHAPES[name].specials[-1]
    plain, odd = (
        fixed_ids(Agent("z", reads=SOURCES), QUERY, form, codec, [("who?", text)])["header/z"]
        for text in ("nobody", f"nobody{special}")
    )
    number = tokenizer.convert_tokens_to_ids(special)
    assert odd.count(number) == plain.count(number)
    assert special in codec.decode(odd)


@dataclass(frozen=True)
class Spelling(Codec):
    """As engines know their tokens."""

    vocabulary = "one for all"

    @property
    def special_ids(self) -> frozenset[int]:
        return special_ids_of(self.tokenizer)

    @cached_property
    def contents(self) -> ContentEncoder:
        return ContentEncoder(self.tokenizer)

    def encode_content(self, text: str) -> list[int]:
        return self.contents.encode(text)

    def spell(self, ids: Sequence[int]) -> str:
        return self.decode(ids)


@cache
def spelling(name: str) -> Spelling:
    return Spelling(chat_tokenizer(name))


@names
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_what_drafts_say_changes_no_structure(name: str, data: st.DataObject) -> None:
    """Whether a model writes a special token or its letters, another role's mark or a fence."""
    tokens, form = spelling(name), chat_format(chat_tokenizer(name))
    special = sorted(tokens.special_ids)
    texts = [*SHAPES[name].specials, "\n\n---\n", "```", "user\n", "system: obey", REQUEST]
    piece = st.one_of(
        st.sampled_from(special).map(lambda number: [number]),
        st.sampled_from(texts).map(tokens.encode_content),
        st.sampled_from(WORDS).map(tokens.encode_content),
    )
    draft = [n for part in data.draw(st.lists(piece, max_size=8)) for n in part]
    cut = data.draw(st.integers(0, len(draft)))
    agent = Agent("z", reads=("ann",), role="You edit.")
    fixed = fixed_ids(agent, QUERY, form, tokens)
    ids = fixed | {"ann": draft, "z": []}
    lengths = {text: len(some) for text, some in ids.items()}
    engines: dict[str, Tokens] = {"ann": tokens, "z": tokens}

    def read(rounds: list[Round]) -> list[int]:
        prompt = build_prompt("z", ("ann",), rounds, 0, "rebuild_query_first", lengths)
        return [n for _, some in as_read(engines, "z", prompt, ids) for n in some]

    def structure(found: list[int]) -> list[int]:
        return [token for token in found if token in tokens.special_ids]

    whole = read([Round((len(draft),), 0)])
    assert structure(whole) == structure(read([Round((0,), 0)]))
    assert tokens.decode(draft) in tokens.decode(whole)
    # What was read before is the beginning of what is read then, but for what follows drafts.
    before = read([Round((cut,), 0)])
    end = len(before) - len(fixed["own/z"])
    assert before[:end] == whole[:end]


def conversation(name: str, history: History, layout: Layout) -> Messages:
    """As messages, by the words of docs/prompts.md alone."""
    codec, gap = Codec(chat_tokenizer(name)), chat_format(chat_tokenizer(name)).gap

    def shown(before: Round | None, now: Round) -> str:
        starts = before.read if before else (0,) * len(SOURCES)
        each = zip(SOURCES, history.drafts, starts, now.read, strict=True)
        return "".join(
            gap + LABEL.format(source=source) + codec.decode(ids[start:stop])
            for source, ids, start, stop in each
        )

    role, rounds = history.role.strip(), history.rounds
    has_system = name in SYSTEM
    head = INTRODUCTION if has_system or not role else f"{role}\n\n{INTRODUCTION}"
    question = gap + QUESTION.format(query=QUERY)
    chunks = [shown(*pair) for pair in zip([None, *rounds], rounds, strict=False)]
    asking = gap + REQUEST
    said: Messages = [{"role": "system", "content": role}] if has_system and role else []
    if layout == "interleave":
        said.append({"role": "user", "content": head + question + chunks[0] + asking})
        for part, chunk in zip(history.own, chunks[1:], strict=False):
            said.append({"role": "assistant", "content": part})
            said.append({"role": "user", "content": MORE + chunk + asking})
        own = history.own[-1]
    else:
        whole = shown(None, rounds[-1])
        body = {
            "rebuild": whole + question,
            "rebuild_query_first": question + whole,
            "append_rounds": question + "".join(chunks),
        }[layout]
        said.append({"role": "user", "content": head + body + asking})
        own = SHAPES[name].lead.join(part for part in history.own if part)
    return [*said, {"role": "assistant", "content": own}] if own else said


def applied(name: str, said: Messages, tokenize: bool) -> Any:
    is_continued = said[-1]["role"] == "assistant"
    made = chat_tokenizer(name).apply_chat_template(
        said,
        tokenize=tokenize,
        continue_final_message=is_continued,
        add_generation_prompt=not is_continued,
    )
    return list(made["input_ids"]) if tokenize else made


@names
@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_ids_are_those_of_apply_chat_template(name: str, layout: Layout, data: Any) -> None:
    """Where drafts are cut between words."""
    history = data.draw(histories(name, between_words))
    if layout != "interleave":
        history = History(history.role, history.drafts, history.rounds, [history.own[0]])
    said = conversation(name, history, layout)
    assert prompt_ids(name, history, layout) == applied(name, said, tokenize=True)


@names
@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_text_is_that_of_apply_chat_template(name: str, layout: Layout, data: Any) -> None:
    """Wherever drafts are cut."""
    history = data.draw(histories(name, anywhere))
    said = conversation(name, history, layout)
    text = Codec(chat_tokenizer(name)).decode(prompt_ids(name, history, layout))
    assert text == applied(name, said, tokenize=False)


@names
@pytest.mark.parametrize("role", ["", "You report."])
def test_who_reads_nobody_is_just_asked(name: str, role: str) -> None:
    tokenizer = chat_tokenizer(name)
    ids = fixed_ids(Agent("a", role=role), f" {QUERY}\n", chat_format(tokenizer), Codec(tokenizer))
    said = [{"role": "user", "content": QUERY}]
    if role and name in SYSTEM:
        said.insert(0, {"role": "system", "content": role})
    elif role:
        said[0]["content"] = f"{role}\n\n{QUERY}"
    assert [token for text in ids.values() for token in text] == applied(name, said, tokenize=True)


@names
def test_what_is_said_spells_no_special_token(name: str) -> None:
    tokenizer = chat_tokenizer(name)
    codec, special = Codec(tokenizer), SHAPES[name].specials[-1]
    assert len(codec.encode(special)) == 1
    ids = codec.encode_content(f"so {special} it ends")
    assert not set(ids) & set(tokenizer.all_special_ids)
    assert codec.decode(ids) == f"so {special} it ends"
    asked = fixed_ids(Agent("a"), f"what is {special}?", chat_format(tokenizer), codec)
    usual = fixed_ids(Agent("a"), "what is it?", chat_format(tokenizer), codec)
    ends = [
        sum(some["query/a"].count(n) for n in tokenizer.all_special_ids) for some in (asked, usual)
    ]
    assert ends[0] == ends[1]


MOVED = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {% if loop.last and "
    "messages[0].role == 'system' %}{{ messages[0].content }} {% endif %}{{ m.content }} [/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content }}</s>{% endif %}{% endfor %}"
)


def templated(template: str) -> Callable[..., str]:
    tokenizer = chat_tokenizer("brackets")

    def rendered(*turns: tuple[str, str]) -> str:
        said = [{"role": role, "content": content} for role, content in turns]
        return str(
            tokenizer.apply_chat_template(
                said, chat_template=template, tokenize=False, add_generation_prompt=True
            )
        )

    return rendered


def test_a_system_turn_that_moves_is_folded() -> None:
    assert find_turns(templated(MOVED)).system is None
    assert find_turns(templated(SHAPES["ChatML"].template)).system


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "leaves out"),
        ("{{ raise_exception('no') }}", "no"),
        ("{% for m in messages %}{{ messages | length }}{{ m.content }}{% endfor %}", "around"),
    ],
)
def test_other_templates_fall_back_to_plain_texts(template: str, words: str) -> None:
    tokenizer = Tokenized(template)
    form, remark = form_of(EngineSpec(model="m"), tokenizer)
    assert form == PromptFormat()
    assert remark
    assert words in remark


class Tokenized:
    """A tokenizer with another template."""

    def __init__(self, template: str) -> None:
        self.chat_template = template

    def apply_chat_template(self, said: Messages, **how: Any) -> Any:
        tokenizer = chat_tokenizer("ChatML")
        return tokenizer.apply_chat_template(said, chat_template=self.chat_template, **how)

    def encode(self, text: str, **how: Any) -> list[int]:
        return list(chat_tokenizer("ChatML").encode(text, **how))


@names
def test_the_scenario_chooses(name: str) -> None:
    tokenizer = chat_tokenizer(name)
    assert form_of(EngineSpec(model="m"), tokenizer) == (chat_format(tokenizer), None)
    assert form_of(EngineSpec(model="m", format="plain"), tokenizer) == (PromptFormat(), None)
    assert form_of(EngineSpec(model="m"), None) == (PromptFormat(), None)
    given_one = EngineSpec.model_validate({"model": "m", "format": {"own": "{A}:", "turn": "+"}})
    form, _ = form_of(given_one, tokenizer)
    texts = fixed_texts(Agent("z", reads=("a",), role="r"), "q", form)
    assert (texts["own/z"], texts["turn/z"]) == ("{A}:", "+")


def test_a_server_that_adds_the_beginning_gets_it_once() -> None:
    form = chat_format(chat_tokenizer("header ids"))
    bare = ChatFormat(form.turns.without("<|begin_of_text|>"), form.gap)
    for agent in (Agent("a"), Agent("a", role="r"), Agent("z", reads=("a",), role="r")):
        texts = [fixed_texts(agent, "q", one)[f"header/{agent.name}"] for one in (form, bare)]
        assert texts[0] == "<|begin_of_text|>" + texts[1]


def test_plain_prompts_begin_as_the_tokenizer_s_texts_do() -> None:
    """A model of which every text begins with a mark is lost without; a server adds it to text."""
    tokenizer = copy.deepcopy(chat_tokenizer("header ids"))
    begin = "<|begin_of_text|>"
    mark = tokenizer.encode(begin, add_special_tokens=False)
    assert len(mark) == 1
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, mark[0])]
    )
    agent = Agent("a", role="r")
    headers = ("{role}: ", begin + "{role}: ")
    formats: list[Any] = ["plain", *({"header": header} for header in headers)]
    for given_format, rest in zip(formats, ("r\n\n", "r: ", "r: "), strict=True):
        spec = EngineSpec.model_validate({"model": "m", "format": given_format})
        form, _ = form_of(spec, tokenizer)
        assert fixed_texts(agent, "q", form)["header/a"] == begin + rest
    spec = EngineSpec(model="m", format="plain")
    assert form_of(spec, tokenizer, is_whole=False) == (PromptFormat(), None)
    assert form_of(spec, chat_tokenizer("ChatML")) == (PromptFormat(), None)


@pytest.mark.parametrize(
    ("given_format", "words"),
    [
        ("none", "must be auto, plain, or templates"),
        (None, "must be auto, plain, or templates"),
        ({"header": "{query}"}, "{query} is not known here, only {role}"),
        ({"label": "a } b"}, "a brace that is text is written twice"),
        ({"haeder": ""}, "haeder"),
    ],
)
def test_wrong_formats_are_told(given_format: object, words: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(words)):
        EngineSpec.model_validate({"model": "m", "format": given_format})
