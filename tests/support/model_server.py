"""Servers of three kinds on loopback that hold a real model, greedy, and can be told guesses.

What each does is what vLLM (``prompt_logprobs``), SGLang (``/generate``) and OpenAI (predicted
output) are known to do, as far as the executor depends on it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from executor.inprocess.models import LoadedModel, load_model
from executor.prefix import common_prefix
from staircase.spec.engine_spec import ServerGuesses

# Of vLLM's prefix cache.
BLOCK = 16


class GreedyModel:
    """A forward pass over the whole text for every token, and nothing kept but what it gave."""

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self.scores = lru_cache(maxsize=512)(self._scores)

    def _scores(self, ids: tuple[int, ...]) -> Tensor:
        """Log-probabilities [positions, vocabulary] of what follows each token."""
        with torch.inference_mode():
            logits = self.model.network(torch.tensor([ids])).logits[0]
        return torch.log_softmax(logits.double(), dim=-1)

    def next(self, ids: Sequence[int]) -> int:
        return int(self.scores(tuple(ids))[-1].argmax())

    def tokens(self, ids: Sequence[int], most: int) -> Iterator[int]:
        """What it writes; the last may end the text."""
        text = list(ids)
        for _ in range(most):
            text.append(self.next(text))
            yield text[-1]
            if text[-1] in self.model.end_ids:
                return


@lru_cache(maxsize=4)
def greedy_model(folder: str) -> GreedyModel:
    # Several threads that wait for each other beside other work are many times slower.
    torch.set_num_threads(1)
    return GreedyModel(load_model(folder, "cpu", "float32"))


@dataclass
class Cache:
    """Token ids of what was computed."""

    block: int
    texts: list[list[int]] = field(default_factory=list)

    def known(self, prompt: Sequence[int]) -> int:
        """Tokens of ``prompt`` that need not be computed: whole blocks, never the last."""
        found = max((common_prefix(text, list(prompt)) for text in self.texts), default=0)
        return min(found, len(prompt) - 1) // self.block * self.block


class ModelServer:
    """A context manager.

    Args:
        token_s: between two tokens.

    Attributes:
        asked: paths and bodies of the requests, in order, since ``begin``.
        drops: numbers of requests, by ``asked``, whose connection closes without an answer.
        ends: tokens with which it ends a text.
        refused: a field that it does not take; any other is read over.
        chooses: the next token after a text; the log-probabilities that it tells stay the model's.
    """

    def __init__(self, kind: ServerGuesses, folder: Path, token_s: float = 0.0) -> None:
        self.kind = kind
        self.greedy = greedy_model(str(folder))
        self.cache = Cache(BLOCK if kind == "prompt_logprobs" else 1)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.ends = self.greedy.model.end_ids
        self.drops: frozenset[int] = frozenset()
        self.refused = ""
        self.token_s = token_s
        self.chooses: Callable[[Sequence[int]], int] = self.greedy.next
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def begin(self, drops: frozenset[int] = frozenset()) -> None:
        """Forgets what a probe did."""
        self.asked.clear()
        self.cache.texts.clear()
        self.drops = drops

    def guesses(self) -> list[dict[str, Any]]:
        """Requests that told a guess."""
        names = ("prompt_logprobs", "logprob_start_len", "prediction")
        return [body for _, body in self.asked if any(name in body for name in names)]

    def __enter__(self) -> ModelServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    # answers

    def written(self, ids: Sequence[int], most: int) -> tuple[list[int], bool]:
        """Tokens without the one that ends the text, and whether it ended."""
        text = list(ids)
        while len(text) < len(ids) + most:
            text.append(self.chooses(text))
            if text[-1] in self.ends:
                self.cache.texts.append(text[:-1])
                return text[len(ids) : -1], True
        self.cache.texts.append(text[:-1])
        return text[len(ids) :], False

    def tops(self, ids: Sequence[int], place: int, count: int) -> dict[int, float]:
        """The likeliest tokens at ``place``, and the one that stands there."""
        row = self.greedy.scores(tuple(ids))[place - 1]
        best = row.topk(count).indices.tolist()
        return {token: float(row[token]) for token in [*best, ids[place]]}

    def scored(self, body: Mapping[str, Any]) -> Any:
        """vLLM's answer that is not streamed; it does not look into its cache."""
        ids = body["prompt"]
        new, is_end = self.written(ids, 1)
        every = [
            {str(t): {"logprob": p} for t, p in self.tops(ids, n, body["prompt_logprobs"]).items()}
            for n in range(1, len(ids))
        ]
        choice = {
            "text": "",
            "token_ids": new or sorted(self.ends)[:1],
            "finish_reason": "stop" if is_end else "length",
            "prompt_logprobs": [None, *every],
        }
        return {"choices": [choice], "usage": _usage(1, 0)}

    def generated(self, body: Mapping[str, Any]) -> Any:
        """SGLang's own."""
        ids, start, count = body["input_ids"], body["logprob_start_len"], body["top_logprobs_num"]
        cached = min(self.cache.known(ids), start)
        new, is_end = self.written(ids, body["sampling_params"]["max_new_tokens"])
        told = [self.tops(ids, place, count) for place in range(start + 1, len(ids))]
        own = [[tops[ids[start + 1 + n]], ids[start + 1 + n], None] for n, tops in enumerate(told)]
        best = [[[p, token, None] for token, p in list(tops.items())[:count]] for tops in told]
        about = {
            "finish_reason": {"type": "stop", "matched": 0} if is_end else {"type": "length"},
            "cached_tokens": cached,
            "input_token_logprobs": [[None, ids[start], None], *own],
            "input_top_logprobs": [None, *best],
            "output_token_logprobs": [[-0.5, token, None] for token in new],
        }
        return {"text": "", "meta_info": about}

    def completed(self, body: Mapping[str, Any]) -> Iterator[Any]:
        """Chunks of a completion of token ids, or of text."""
        prompt = body["prompt"]
        ids = prompt if isinstance(prompt, list) else self.greedy.model.encode(prompt)
        cached = self.cache.known(ids)
        new, is_end = self.written(ids, body["max_tokens"])
        for token in new:
            yield {"choices": [{"text": self._text([token]), "token_ids": [token]}]}
        end = sorted(self.ends)[:1] if is_end else []
        reason = "stop" if is_end else "length"
        yield {"choices": [{"text": "", "token_ids": end, "finish_reason": reason}]}
        yield {"choices": [], "usage": _usage(len(new) + len(end), cached)}

    def chatted(self, body: Mapping[str, Any]) -> Iterator[Any]:
        """Messages without a template; what was predicted right comes in one piece.

        What was predicted wrong counts like the rest, against ``max_tokens`` too.
        """
        said = "".join(message["content"] for message in body["messages"])
        predicted = self.greedy.model.encode(body.get("prediction", {}).get("content", ""))
        ids, most = self.greedy.model.encode(said), body["max_tokens"]
        new, is_end = self.written(ids, most)
        right = common_prefix(new, predicted)
        wrong = len(predicted) - right
        if right + wrong + len(new[right:]) > most:
            new, is_end = new[: most - wrong], False
        for piece in (new[:right], *([token] for token in new[right:])):
            yield {"choices": [{"delta": {"content": self._text(piece)}}]}
        yield {"choices": [{"delta": {}, "finish_reason": "stop" if is_end else "length"}]}
        details = {"accepted_prediction_tokens": right, "rejected_prediction_tokens": wrong}
        usage = _usage(len(new) + wrong, 0) | {"completion_tokens_details": details}
        yield {"choices": [], "usage": usage}

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.greedy.model.tokenizer.decode(list(ids), skip_special_tokens=True))


def _usage(written: int, cached: int) -> dict[str, Any]:
    return {"completion_tokens": written, "prompt_tokens_details": {"cached_tokens": cached}}


def _handler(server: ModelServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            number = len(server.asked)
            server.asked.append((self.path, body))
            if number not in server.drops:
                self._answer(body)

        def _answer(self, body: dict[str, Any]) -> None:
            is_chat = server.kind == "prediction"
            known = "/v1/chat/completions" if is_chat else "/v1/completions"
            if self.path == "/generate" and server.kind == "generate":
                self._send(json.dumps(server.generated(body)))
            elif self.path != known or server.refused in body:
                self._send('{"detail": "Not Found"}', 404)
            elif "prompt_logprobs" in body and server.kind == "prompt_logprobs":
                self._send(json.dumps(server.scored(body)))
            elif body.get("stream"):
                chunks = server.chatted(body) if is_chat else server.completed(body)
                self._stream(chunks)
            else:
                self._send(json.dumps({"choices": [{"text": ""}]}))

        def _stream(self, chunks: Iterator[Any]) -> None:
            """To the connection's end, or until the client leaves."""
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            with suppress(ConnectionError):
                for chunk in chunks:
                    time.sleep(server.token_s)
                    self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
                self.wfile.write(b"data: [DONE]\n\n")

        def _send(self, words: str, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(words.encode())))
            self.end_headers()
            self.wfile.write(words.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is printed."""

    return Handler
