"""A scripted OpenAI server on loopback, which can fail wherever a test says.

It counts: a prompt that ends in `` 1 2 3`` is answered with `` 4``, `` 5`` … (token ids: 1000, 1001
…), so a token lost, doubled or out of order shows in the text.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import threading
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from executor.prefix import common_prefix
from executor.tokens.chat_template import GO_ON

FIRST_ID = 1000
EXTRAS = frozenset(
    {"stream_options", "return_token_ids", "ignore_eos", "min_tokens", "priority"}
    | {"top_p", "top_k", "seed"}
    | {"continue_final_message", "add_generation_prompt"}
)
BASIC = frozenset({"model", "stream", "temperature", "prompt", "messages"})
Kind = Literal["status", "hang", "ends", "breaks", "garbage", "error object", "raw", "stops"]


@dataclass(frozen=True)
class Fault:
    """``after`` tokens of a call something goes wrong.

    Attributes:
        kind: ``stops`` is none: the model ends its text here, before anything if ``after`` is 0.
        is_cut: half of the next event is sent before.
        headers: of a ``status``.
        body: of a ``status`` or an ``error object``; of ``raw``, what comes that is no event.
    """

    kind: Kind
    after: int = 0
    is_cut: bool = False
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = '{"error": {"message": "as scripted"}}'


@dataclass(frozen=True)
class Pace:
    """How long things take, beside ``token_s``.

    Attributes:
        call_s: before a prompt's prefill.
        prefill_token_s: for each token of the prompt that is not cached.
        sequence_s: for each token written, times the calls that are served.
        block_tokens: of the prefix cache, which knows the last texts; their number is the prompt's.
        keeps_written: it knows what was written too, but for the last token.
    """

    call_s: float
    prefill_token_s: float
    sequence_s: float
    block_tokens: int
    kept_texts: int = 8
    keeps_written: bool = False


@dataclass(frozen=True)
class Reply:
    """Said instead of counting; ``refuses``: in the field that OpenAI has for that."""

    words: str
    refuses: bool = False
    reason: str = "stop"
    status: int = 200


@dataclass(frozen=True)
class Manners:
    """What kind of server it is.

    Attributes:
        fields: that it takes beside the basic ones; others get 422.
        length: numbers that it writes before it ends its text.
        usage: on the last chunk with choices, in a chunk of its own, or not at all.
        group: tokens in a chunk.
        over: tokens that it writes beyond max_tokens.
        has_reason: whether it says why an answer ends.
        comments: that it sends before the first token.
        drops_space: answers begin without the space that they should begin with.
        limit: its name for max_tokens.
        takes_greedy: whether temperature may be 0.
        keeps: connections; else one that is used again is closed without a word.
        pace: for prompts of token ids only.
        salts: texts with different cache_salt are apart in the prefix cache, also those that are
            text; ``strictly``: an empty one is refused.
        reply: what it says to a prompt; None to count.
        scores: log-probabilities [positions, vocabulary] from which the tokens of a prompt were
            drawn; None if it does not tell.
        most_tops: of how many of the most probable tokens it tells them.
        least_tokens: that it takes for max_tokens.
        broken_by: statuses by field: it breaks at a request that holds it.
        script: the events of every answer, instead of counting.
        assistant: what it does after an assistant's message at the end.
        repeats: how many of the last numbers of a restated text it says again.
    """

    paths: frozenset[str] = frozenset({"completions", "chat/completions"})
    fields: frozenset[str] = EXTRAS
    takes_ids: bool = True
    sends_ids: bool = True
    has_done: bool = True
    usage: Literal["last", "apart", "never"] = "apart"
    length: int = 10**6
    token_s: float = 0.0005
    group: int = 1
    over: int = 0
    has_reason: bool = True
    comments: int = 0
    drops_space: bool = False
    limit: str = "max_tokens"
    takes_greedy: bool = True
    keeps: bool = True
    pace: Pace | None = None
    salts: Literal["no", "yes", "strictly"] = "no"
    reply: Callable[[str], Reply | None] = lambda prompt: None
    scores: Callable[[list[int]], Sequence[Sequence[float]]] | None = None
    most_tops: int = 20
    least_tokens: int = 1
    broken_by: Mapping[str, int] = field(default_factory=dict)
    script: Sequence[str] | None = None
    assistant: Literal["goes on", "begins anew"] = "goes on"
    repeats: int = 0


class FakeServer:
    """A context manager; everything it saw stays readable.

    Attributes:
        faults: by (model, number of its request), counted from when ``begin`` was last called.
        bodies: of the requests, in order.
        connections: how many were ever opened; ``open`` now.
        hung_up: requests that the client left before their end.
        most: most requests at one time.
    """

    def __init__(self, manners: Manners | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.manners = manners or Manners()
        self._tls = tls
        self.faults: dict[tuple[str, int], Fault] = {}
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.connections = self.open = self.hung_up = self.active = self.most = 0
        self.texts: deque[list[Any]] = deque(
            maxlen=self.manners.pace.kept_texts if self.manners.pace else 0
        )
        self._counts: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake server")

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}/v1"

    def begin(self, faults: Mapping[tuple[str, int], Fault] | None = None) -> None:
        """Forgets what a probe did."""
        self.faults = dict(faults or {})
        self.bodies.clear()
        self.headers.clear()
        self._counts.clear()
        self.hung_up = self.most = 0

    def __enter__(self) -> FakeServer:
        self._thread.start()
        self._listener = self._run(self._listen())
        self._port = self._listener.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Awaitable[Any]) -> Any:
        async def awaited() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result()

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._connection, "127.0.0.1", 0, ssl=self._tls)

    async def _close(self) -> None:
        self._listener.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            await _Talk(self, reader, writer).listen()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.hung_up += 1
        finally:
            self.open -= 1
            writer.close()

    def fault(self, model: str) -> Fault | None:
        number = self._counts[model]
        self._counts[model] += 1
        return self.faults.get((model, number))


class _Talk:
    """One connection: requests one after the other."""

    def __init__(
        self, server: FakeServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer

    async def listen(self) -> None:
        first = await self._reader.read(1)
        while first:
            path, headers, body = await self._request(first)
            self._server.bodies.append(body)
            self._server.headers.append(headers)
            # The client says no more until it was answered, unless it leaves.
            self._next = asyncio.ensure_future(self._reader.read(1))
            self._server.active += 1
            self._server.most = max(self._server.most, self._server.active)
            try:
                if not await self._answer(path, body):
                    return
            finally:
                self._server.active -= 1
            first = await self._next
            if not self._server.manners.keeps:
                return

    async def _request(self, first: bytes) -> tuple[str, dict[str, str], dict[str, Any]]:
        head = first + await self._reader.readuntil(b"\r\n\r\n")
        request, *lines = head.decode("latin-1").split("\r\n")
        pairs = [line.split(": ", 1) for line in lines if line]
        headers = {name.lower(): value for name, value in pairs}
        body = await self._reader.readexactly(int(headers["content-length"]))
        # As a proxy it is asked for a whole URL.
        return request.split()[1].partition("/v1/")[2], headers, json.loads(body)

    async def _answer(self, path: str, body: dict[str, Any]) -> bool:
        """Whether the connection may be used again."""
        fault = self._server.fault(body["model"])
        if fault and fault.kind == "status":
            return self._status(fault.status, fault.body, fault.headers)
        if refusal := self._refusal(path, body):
            return self._status(*refusal)
        if not body.get("stream"):
            return self._status(200, json.dumps(_scored(self._server.manners, body)))
        self._head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
        for _ in range(self._server.manners.comments):
            await self._pause(self._server.manners.token_s)
            self._chunk(b": wait\n\n")
        pace, cached, manners = self._server.manners.pace, None, self._server.manners
        if pace and (manners.salts != "no" or isinstance(body.get("prompt"), list)):
            cached = self._look_up(body, pace.block_tokens)
            new = len(body["prompt"]) - cached
            await self._pause(pace.call_s + pace.prefill_token_s * new)
        for number, event in enumerate(self._events(body, cached)):
            if fault and number == fault.after:
                return await self._fail(fault, event)
            together = self._server.active * pace.sequence_s if pace and number else 0.0
            await self._pause(self._server.manners.token_s + together)
            self._send(event)
            if cached is not None:
                self._remember(event)
        if fault and fault.kind == "hang":
            await self._pause(3600)
        self._writer.write(b"0\r\n\r\n")
        return True

    def _look_up(self, body: dict[str, Any], block: int) -> int:
        """Tokens of the prompt that are cached; it is from now on."""
        salt = body.get("cache_salt") if self._server.manners.salts != "no" else None
        prompt: list[Any] = [(salt, token) for token in body["prompt"]]
        known = max((common_prefix(text, prompt) for text in self._server.texts), default=0)
        self._salt, self._text, self._last = salt, prompt, list[Any]()
        self._server.texts.append(self._text)
        return min(known, len(prompt) - 1) // block * block

    def _remember(self, event: str) -> None:
        """What was written before the tokens of ``event`` has been through the model."""
        pace = self._server.manners.pace
        if pace and pace.keeps_written and event.startswith("{"):
            choices = json.loads(event)["choices"]
            new = [(self._salt, token) for one in choices for token in one.get("token_ids", [])]
            if new:
                self._text += self._last
                self._last = list(new)

    def _refusal(self, path: str, body: dict[str, Any]) -> tuple[int, str] | None:
        manners = self._server.manners
        if path not in manners.paths:
            return 404, '{"detail": "Not Found"}'
        if isinstance(body.get("prompt"), list) and not manners.takes_ids:
            return 400, '{"error": {"message": "prompt must be a string"}}'
        if manners.limit not in body:
            return 400, f'{{"error": {{"message": "use \'{manners.limit}\', not max_tokens"}}}}'
        if body[manners.limit] < manners.least_tokens:
            words = f"{manners.limit}: must be at least {manners.least_tokens}"
            return 400, json.dumps({"error": {"message": words}})
        for name in body.keys() & manners.broken_by.keys():
            return manners.broken_by[name], '{"detail": "Internal Server Error"}'
        if not manners.takes_greedy and body.get("temperature") == 0:
            return 400, '{"error": {"message": "temperature must not be 0"}}'
        reply = manners.reply(_asked(body))
        if reply and reply.status != 200:
            return reply.status, json.dumps({"error": {"message": reply.words}})
        if max(body.get("prompt_logprobs", 0), body.get("logprobs", 0)) > manners.most_tops:
            return 400, '{"error": {"message": "too many"}}'
        if manners.salts == "strictly" and body.get("cache_salt") == "":
            return 400, '{"error": {"message": "cache_salt must be a non-empty string"}}'
        unknown = sorted(body.keys() - BASIC - manners.fields - {manners.limit})
        return (422, json.dumps({"detail": f"unexpected: {unknown}"})) if unknown else None

    def _events(self, body: dict[str, Any], cached: int | None = None) -> Iterator[str]:
        manners = self._server.manners
        if manners.script is not None:
            yield from manners.script
            return
        if reply := manners.reply(_asked(body)):
            yield from _replied(reply, "chat" if "messages" in body else "text")
            return
        last, kind, is_ids = _counted(body, manners)
        limit = last + body[manners.limit] + manners.over
        stop = min(limit, manners.length)
        why = "length" if stop == limit else "stop"
        usage = {"completion_tokens": stop - last, "prompt_tokens": 9}
        usage |= {"prompt_tokens_details": {"cached_tokens": last if cached is None else cached}}
        has_usage = body.get("stream_options", {}).get("include_usage") and manners.usage
        for numbers in _groups(range(last + 1, stop + 1), manners.group):
            text = "".join(f" {number}" for number in numbers)
            is_bare = manners.drops_space and numbers[0] == last + 1
            choice: dict[str, Any] = _said(kind, text[1:] if is_bare else text)
            if is_ids and manners.sends_ids:
                choice["token_ids"] = [FIRST_ID + number for number in numbers]
            yield json.dumps({"choices": [choice | {"finish_reason": None}]})
        reason = {"finish_reason": why if manners.has_reason else None}
        end: dict[str, Any] = {"choices": [_said(kind, "") | reason]}
        yield json.dumps(end | ({"usage": usage} if has_usage == "last" else {}))
        if has_usage == "apart":
            yield json.dumps({"choices": [], "usage": usage})
        if manners.has_done:
            yield "[DONE]"

    async def _fail(self, fault: Fault, event: str) -> bool:
        if fault.is_cut:
            self._send(event, part=0.5)
        if fault.kind == "stops":
            self._send('{"choices": [{"text": "", "finish_reason": "stop"}]}')
            self._send("[DONE]")
        if fault.kind == "hang":
            await self._pause(3600)
        elif fault.kind == "garbage":
            self._send('{"choices": [{"te')
        elif fault.kind == "error object":
            self._send(fault.body)
        elif fault.kind == "raw":
            self._chunk(fault.body.encode())
        if fault.kind != "breaks":
            self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()
        return False

    def _status(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> bool:
        self._head(status, {"Content-Length": str(len(text)), **(headers or {})})
        self._writer.write(text.encode())
        return True

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} scripted", *(f"{k}: {v}" for k, v in headers.items())]
        self._writer.write("\r\n".join([*lines, "", ""]).encode())

    def _send(self, event: str, part: float = 1.0) -> None:
        data = f"data: {event}\n\n".encode()
        self._chunk(data[: int(len(data) * part)])

    def _chunk(self, data: bytes) -> None:
        self._writer.write(b"%x\r\n%s\r\n" % (len(data), data))

    async def _pause(self, seconds: float) -> None:
        """Raises ConnectionError when the client leaves meanwhile."""
        await self._writer.drain()
        if await asyncio.wait({self._next}, timeout=seconds) != (set(), {self._next}):
            raise ConnectionResetError


def _asked(body: dict[str, Any]) -> str:
    return str(body["messages"][0]["content"] if "messages" in body else body["prompt"])


def _replied(reply: Reply, kind: str) -> Iterator[str]:
    """In two pieces, so that labels are cut."""
    half = len(reply.words) // 2
    pieces = [""] if reply.refuses else [reply.words[:half], reply.words[half:]]
    for piece in pieces:
        choice = _said(kind, piece)
        if reply.refuses:
            choice["delta"]["refusal"] = reply.words
        yield json.dumps({"choices": [choice | {"finish_reason": None}]})
    yield json.dumps({"choices": [_said(kind, "") | {"finish_reason": reply.reason}]})
    yield "[DONE]"


def _scored(manners: Manners, body: dict[str, Any]) -> dict[str, Any]:
    """Of every token of the prompt but the first, and of one that was written."""
    ids = body["prompt"]
    if manners.scores is None:
        return {"choices": [{"text": " 1"}]}
    tops = [
        _tops(row, token, body.get("prompt_logprobs") or body["logprobs"])
        for row, token in zip(manners.scores(ids), ids[1:], strict=True)
    ]
    if "prompt_logprobs" in body:
        by_id = [{str(n): {"logprob": p} for n, p in top.items()} for top in tops]
        return {"choices": [{"text": " 1", "prompt_logprobs": [None, *by_id]}]}
    drawn = [top[token] for top, token in zip(tops, ids[1:], strict=True)]
    echoed = {
        "tokens": [f"<{token}>" for token in [*ids, 0]],
        "token_logprobs": [None, *drawn, 0.0],
        "top_logprobs": [None, *({f"<{n}>": p for n, p in top.items()} for top in tops), {}],
    }
    return {"choices": [{"text": " 1", "logprobs": echoed}]}


def _tops(row: Sequence[float], token: int, count: int) -> dict[int, float]:
    """The most probable tokens, and the one that stands there."""
    best = sorted(range(len(row)), key=lambda n: -row[n])[:count]
    return {n: float(row[n]) for n in [*best, token]}


def _counted(body: dict[str, Any], manners: Manners) -> tuple[int, str, bool]:
    """The number to go on from, the kind of API, and whether ids are wanted."""
    is_ids = bool(body.get("return_token_ids"))
    if "messages" in body:
        return _counted_in(body["messages"][-1], manners), "chat", is_ids
    prompt = body["prompt"]
    if isinstance(prompt, list):
        return max(0, prompt[-1] - FIRST_ID), "text", is_ids
    return _last_number(prompt), "text", is_ids


def _counted_in(message: dict[str, str], manners: Manners) -> int:
    text = message["content"]
    if message["role"] == "user":
        is_restated = text.endswith(GO_ON)
        return max(0, _last_number(text.removesuffix(GO_ON)) - manners.repeats) * is_restated
    return _last_number(f"a:{text}") if manners.assistant == "goes on" else 0


def _last_number(text: str) -> int:
    found = re.search(r"(?:^|[^ \d])( ?\d+(?: \d+)*)\Z", text)
    return int(found[1].split()[-1]) if found else 0


def _said(kind: str, text: str) -> dict[str, Any]:
    return {"delta": {"content": text}} if kind == "chat" else {"text": text}


def _groups(numbers: range, size: int) -> Iterable[range]:
    return (numbers[start : start + size] for start in range(0, len(numbers), size))
