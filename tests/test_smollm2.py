"""A real instruction-tuned model, in process and by llama-server."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from executor.inprocess.model_source import source_of
from executor.inprocess.models import LoadedModel, load_model
from executor.scoring.scoring import log_probabilities
from executor.tokens.chat_template import chat_format
from executor.tokens.rendering import fixed_ids
from staircase.pipeline import Agent
from staircase.question_sets import read_questions
from tests.support.command_line import staircase_process as staircase
from tests.support.real_servers import SERVERS, RealServers
from tests.support.smollm2 import SMOLLM2, needs_smollm2

ROOT = Path(__file__).parents[1]
EXAMPLE, QUESTIONS = ROOT / "examples" / "smollm2.yaml", ROOT / "examples" / "questions.jsonl"
TOKENS = 32

pytestmark = [pytest.mark.slow, needs_smollm2, pytest.mark.timeout(900)]


def test_llama_server_writes_what_the_model_would_here(tmp_path: Path) -> None:
    """Both have the file's weights, but llama.cpp rounds activations to 8 bits.

    Where two tokens are about as probable it may take the other one, and its text goes another way
    from there. So it is its own texts that are looked at, token by token.
    """
    file = source_of(SMOLLM2).file
    assert file
    model = load_model(SMOLLM2, "cpu", "float32")
    same, gaps = 0, list[float]()
    with ExitStack() as stack:
        url = RealServers(stack, lambda: tmp_path).url(SERVERS["llama-server"], file)
        for question in read_questions(QUESTIONS)[:10]:
            prompt = asked(model, question.query)
            body = {"prompt": prompt, "n_predict": TOKENS, "temperature": 0, "return_tokens": True}
            reply = httpx.post(url.replace("/v1", "/completion"), json=body, timeout=60)
            text = reply.json()["tokens"]
            places = range(len(prompt), len(prompt) + len(text))
            found = log_probabilities(model, prompt + text, places)
            gap = found.max(dim=1).values - found[range(len(text)), text]
            same += int((gap == 0).sum())
            gaps += gap.tolist()
    assert same >= 0.9 * len(gaps)
    assert max(gaps) < 0.5


def asked(model: LoadedModel, query: str) -> list[int]:
    """The prompt of an agent that reads nobody and has no role."""
    agent = Agent("a")
    texts = fixed_ids(agent, query, chat_format(model.tokenizer), model)
    return [token for ids in texts.values() for token in ids]


def shortened(folder: Path) -> Path:
    """The example with little to do."""
    content: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    for agent in content["pipeline"]["agents"].values():
        agent["max_tokens"] = 24
    content["requests"] = {"dataset": str(QUESTIONS), "count": 2}
    content["profile"] = {"budget_s": 20, "requests": 2, "max_prompt_tokens": 256}
    content["plan"] |= {"layouts": ["append_rounds"], "trials": 20, "validated_front": 0}
    path = folder / "short.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_it_is_profiled_planned_and_validated(tmp_path: Path) -> None:
    path, out = str(shortened(tmp_path)), ["--out", str(tmp_path / "out")]
    for command in ("profile", "plan"):
        run = staircase(command, path, *out)
        assert run.returncode == 0, run.stderr
        assert "GGUF" not in run.stderr
    run = staircase("validate", path, *out, "--json")
    assert run.returncode == 0, run.stderr
    rows = {row["name"]: row for row in json.loads(run.stdout)["rows"]}
    normal = rows["normal"]["measured"]
    assert normal["loss"]["mean"] == pytest.approx(0, abs=1e-4)
    # With its chat template it answers in words, not "The answer is The answer is …".
    assert normal["repetition"]["mean"] < 0.2
    assert normal["leaks"]["mean"] == 0
