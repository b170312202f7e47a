"""The web application: routes, and how answers go over the wire."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from executor.gateway.answering import Answering
from executor.gateway.api.api_error import ApiError
from executor.gateway.api.ask import AnswerRequest, ask_of
from executor.gateway.api.bodies import ChatBody, CompletionBody, InputBody
from executor.gateway.api.chunks import DONE, KEEP_ALIVE, AnswerPiece, Shape
from executor.gateway.gateway import Gateway
from executor.gateway.spans import parent_of

DEADLINE = "staircase-deadline-s"
SCHEDULE = "staircase-schedule"
LIVE = "staircase-inputs"
STATUSES = (400, 401, 404, 409, 413, 429, 502, 503, 504)
METRICS = "text/plain; version=0.0.4; charset=utf-8"
EVENTS = "text/event-stream; charset=utf-8"


@dataclass(frozen=True)
class Settings:
    """How the application treats its clients.

    Attributes:
        keep_alive_s: after so long without anything a stream gets a comment.
        most_bytes: of a body.
    """

    keep_alive_s: float = 10.0
    most_bytes: int = 4 << 20


class ErrorBody(BaseModel):
    """What an error says."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    error: ErrorBody


def make_app(
    gateway: Gateway,
    settings: Settings = Settings(),
    at_end: Callable[[], None] = lambda: None,
) -> FastAPI:
    """The application around ``gateway``; ``at_end`` is called when it is shut down."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        at_end()

    app = FastAPI(
        title="Staircase",
        description="Answers with pipelines of language models.",
        lifespan=lifespan,
    )
    responder = _Responder(gateway, settings)
    errors = {status: {"model": ErrorAnswer} for status in STATUSES}

    @app.post("/v1/chat/completions", responses=errors)  # type: ignore[arg-type]
    async def chat(body: ChatBody, request: Request) -> Response:
        return await responder.answer(ask_of(body), request)

    @app.post("/v1/completions", responses=errors)  # type: ignore[arg-type]
    async def completions(body: CompletionBody, request: Request) -> Response:
        return await responder.answer(ask_of(body), request)

    @app.post("/v1/inputs/{answer}", responses=errors)  # type: ignore[arg-type]
    async def say(answer: str, body: InputBody, request: Request) -> Response:
        key = gateway.keys.name(request.headers.get("authorization"))
        await gateway.say(answer, key, body)
        is_over = bool(body.is_last)
        return JSONResponse({"id": answer, "object": "input", "input": body.input, "over": is_over})

    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        gateway.keys.name(request.headers.get("authorization"))
        return JSONResponse({"object": "list", "data": list(gateway.models())})

    @app.get("/v1/models/{model}", responses={404: {"model": ErrorAnswer}})
    async def model(model: str, request: Request) -> Response:
        gateway.keys.name(request.headers.get("authorization"))
        return JSONResponse(gateway.model(model))

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        gateway.keys.name(request.headers.get("authorization"))
        return Response(gateway.metrics(), media_type=METRICS)

    @app.get("/health")
    async def health() -> Response:
        return PlainTextResponse("ok\n")

    @app.get("/ready", responses={503: {}})
    async def ready() -> Response:
        if gateway.is_draining:
            return PlainTextResponse("shutting down\n", status_code=503)
        return PlainTextResponse("ok\n")

    app.add_exception_handler(ApiError, _told)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_middleware(_Bounded, most_bytes=settings.most_bytes)
    return app


class _Responder:
    """Where answers are handed out."""

    def __init__(self, gateway: Gateway, settings: Settings) -> None:
        self._gateway = gateway
        self._settings = settings

    async def answer(self, ask: AnswerRequest, request: Request) -> Response:
        keys = self._gateway.keys
        name = keys.name(request.headers.get("authorization"))
        with ExitStack() as stack:
            stack.enter_context(keys.asking(name))
            parent = parent_of(request.headers)
            answering = self._gateway.ask(_with_deadline(ask, request), name, parent)
            stack.callback(answering.leave, "client")
            number = secrets.token_hex(12)
            shape = Shape(ask.kind, number, int(time.time()), ask.model)
            stack.enter_context(self._gateway.spoken(shape.id, answering))
            pieces = answering.pieces()
            first = await self._first(pieces, request, ask.is_streamed)
            headers = {"x-request-id": number} | ({LIVE: shape.id} if ask.live else {})
            if answering.point is not None:
                headers[SCHEDULE] = answering.point.name
            if ask.is_streamed:
                stream = self._stream(ask, shape, answering, first, pieces)
                return _Stream(stream, headers, stack.pop_all())
            return await self._whole(shape, answering, first, pieces, request, headers)

    async def _first(
        self, pieces: AsyncIterator[AnswerPiece], request: Request, is_streamed: bool
    ) -> asyncio.Future[AnswerPiece]:
        """Of a stream only as long as nothing need be said meanwhile."""
        first = asyncio.ensure_future(anext(pieces))
        await _unless_gone(first, request, self._settings.keep_alive_s if is_streamed else None)
        if first.done() and (error := first.exception()) is not None:
            raise error
        return first

    async def _whole(
        self,
        shape: Shape,
        answering: Answering,
        first: asyncio.Future[AnswerPiece],
        pieces: AsyncIterator[AnswerPiece],
        request: Request,
        headers: dict[str, str],
    ) -> Response:
        async def gathered() -> list[AnswerPiece]:
            return [await first, *[piece async for piece in pieces]]

        rest = asyncio.ensure_future(gathered())
        await _unless_gone(rest, request, None)
        said = rest.result()
        text, reasoning = ("".join(getattr(p, n) for p in said) for n in ("text", "reasoning"))
        finish = said[-1].finish
        assert finish is not None
        whole = shape.whole(text, reasoning, finish, answering.usage, answering.account)
        return JSONResponse(whole, headers=headers)

    async def _stream(
        self,
        ask: AnswerRequest,
        shape: Shape,
        answering: Answering,
        first: asyncio.Future[AnswerPiece],
        pieces: AsyncIterator[AnswerPiece],
    ) -> AsyncIterator[bytes]:
        """Role, pieces, usage, the end; comments while nothing is there."""
        piece, head = first, shape.role()
        try:
            while True:
                await asyncio.wait({piece}, timeout=self._settings.keep_alive_s)
                if not piece.done():
                    yield KEEP_ALIVE
                    continue
                found = piece.result()
                is_last = found.finish is not None
                yield head + shape.piece(found, _worth_telling(answering) if is_last else {})
                if is_last:
                    break
                piece, head = asyncio.ensure_future(anext(pieces)), b""
        except ApiError as error:
            # Without [DONE]: who reads over the error sees that the answer is not whole.
            yield shape.error(error)
            return
        finally:
            piece.cancel()
        if ask.has_usage:
            yield shape.usage(answering.usage, answering.account)
        yield DONE


class _Stream(StreamingResponse):
    """``leaving`` is closed in the end, however the client leaves."""

    def __init__(
        self, events: AsyncIterator[bytes], headers: dict[str, str], leaving: ExitStack
    ) -> None:
        quick = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(events, headers=headers | quick, media_type=EVENTS)
        self._leaving = leaving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._leaving:
            await super().__call__(scope, receive, send)


def _worth_telling(answering: Answering) -> dict[str, object]:
    """Of a streamed answer whether or not its client wants usage."""
    told = {name: answering.account.get(name) for name in ("ended_by", "late", "missing")}
    found = {name: words for name, words in told.items() if words}
    return {"staircase": found} if found else {}


def _with_deadline(ask: AnswerRequest, request: Request) -> AnswerRequest:
    """That of the header, unless the body names one."""
    given = request.headers.get(DEADLINE)
    if given is None or ask.deadline_s is not None:
        return ask
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        words = f"{DEADLINE}: {given!r} must be a number of seconds above 0"
        raise ApiError(400, "invalid_value", words, DEADLINE)
    return replace(ask, deadline_s=seconds)


async def _unless_gone(
    work: asyncio.Future[AnswerPiece] | asyncio.Future[list[AnswerPiece]],
    request: Request,
    timeout_s: float | None,
) -> None:
    """Waits for ``work``, no longer than the client does; its exception is that of ``work``."""
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({work, gone}, timeout=timeout_s, return_when="FIRST_COMPLETED")
        if gone.done() and not work.done():
            work.cancel()
            # Nobody reads this.
            raise ApiError(499, "client_left", "the client left")
    finally:
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body, error.status, error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    """The first thing that is wrong with a body."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    if first["type"] == "json_invalid":
        return await _told(request, ApiError(400, "invalid_json", f"body: {first['msg']}"))
    words = f"{place or 'body'}: {first['msg']}"
    return await _told(request, ApiError(400, "invalid_value", words, place or None))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
    code = codes.get(error.status_code, "invalid_request")
    answer = ApiError(error.status_code, code, str(error.detail), headers=error.headers)
    return await _told(request, answer)


class _Bounded:
    """Refuses bodies of more than ``most_bytes``."""

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self._app = app
        self._most = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, self._counted(receive) if scope["type"] == "http" else receive, send)

    def _counted(self, receive: Receive) -> Callable[[], Awaitable[Message]]:
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._most:
                raise HTTPException(413, f"the body has more than {self._most} bytes")
            return message

        return counted
