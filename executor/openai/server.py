"""Connections to OpenAI-compatible servers, and the thread in which they live."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urljoin

import httpx

from executor.openai.environment import certificates, proxy_for
from executor.openai.server_faults import (
    ServerError,
    broken_off_fault,
    no_stream_fault,
    read_object,
    status_fault,
    told_fault,
    transport_fault,
)
from executor.openai.sse import ERROR, Event, EventParser
from executor.openai.stream_chunks import Chunk, read_chunk
from staircase.errors import ScenarioError

T = TypeVar("T")
# After an answer's end the server may still say how much it used, and after [DONE] it ends its
# response, whose connection can then be used again; a little is waited for either.
LINGER_S = 1.0
DONE_LINGER_S = 0.1
MOST_ERROR_BYTES = 2**16


@dataclass(frozen=True)
class Address:
    """Where a server is and how long to wait for it.

    Attributes:
        timeout_s: most seconds without an event.
        ca_file: certificates that are trusted; None: those that the environment names.
    """

    base_url: str
    api_key: str | None = field(repr=False)
    timeout_s: float
    connect_timeout_s: float
    ca_file: str | None = None


class Network:
    """The thread whose event loop serves all connections; a context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._servers: list[Server] = []

    def server(self, address: Address) -> Server:
        """Connections to ``address``, closed with the network.

        Raises:
            ScenarioError: the base_url is none, or the environment names a proxy or certificates
                that are none.
        """
        self._servers.append(Server(address))
        return self._servers[-1]

    def post(self, errand: Callable[[], None]) -> None:
        """Runs ``errand`` in the network's thread."""
        self._loop.call_soon_threadsafe(errand)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Does ``work`` in the network's thread and waits for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def __enter__(self) -> Network:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._close())
        self.post(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for server in self._servers:
            await server.close()
        await self._loop.shutdown_asyncgens()


class Server:
    """Connections to one server, kept open between requests. Used in the network's thread only."""

    def __init__(self, address: Address) -> None:
        self.address = address
        key, url = address.api_key, address.base_url
        _check_url(url)
        self._proxy = proxy_for(url)
        # Waiting is bounded here, by events: a server that sends only comments is silent too.
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(None, connect=address.connect_timeout_s),
            limits=httpx.Limits(max_connections=None),
            proxy=self._proxy.url if self._proxy else None,
            verify=certificates(address.ca_file) if url.startswith("https:") else True,
            trust_env=False,
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def stream(self, path: str, body: Any) -> AsyncGenerator[Chunk, None]:
        """Sends a request and yields its answer's chunks; closing it ends the request.

        Raises:
            ServerError: anything went wrong before the answer had ended.
        """
        try:
            async with (
                self._response(path, body) as response,
                aclosing(self._chunks(response)) as chunks,
            ):
                async for chunk in chunks:
                    yield chunk
        except ServerError as fault:
            raise self._told(fault) from None

    async def collect(self, path: str, body: Any) -> list[Chunk]:
        """All chunks of an answer.

        Raises:
            ServerError: as ``stream``.
        """
        async with aclosing(self.stream(path, body)) as chunks:
            return [chunk async for chunk in chunks]

    async def fetch(self, path: str, body: Any) -> Any:
        """Sends a request whose answer is one JSON object, and returns it.

        Raises:
            ServerError: anything went wrong.
        """
        try:
            async with self._response(path, body) as response:
                content = await self._awaited(response.aread(), self.address.timeout_s)
                return read_object(content)
        except ServerError as fault:
            raise self._told(fault) from None

    def _told(self, fault: ServerError) -> ServerError:
        """The fault with the server's name, and without the key if the server repeated it."""
        words = f"{self.address.base_url}: {fault}"
        if self.address.api_key:
            words = words.replace(self.address.api_key, "***")
        return ServerError(words, fault.status, fault.may_pass, fault.retry_after_s)

    @asynccontextmanager
    async def _response(self, path: str, body: Any) -> AsyncIterator[httpx.Response]:
        # With "..", as SGLang's own API is beside OpenAI's.
        url = urljoin(f"{self.address.base_url.rstrip('/')}/", path)
        request = self._client.build_request("POST", url, json=body)
        response = await self._awaited(self._answer(request), self.address.timeout_s)
        try:
            if response.status_code != 200:
                body = await self._awaited(_beginning(response), self.address.timeout_s)
                raise status_fault(response.status_code, response.headers, body, _target(response))
            yield response
        finally:
            await response.aclose()

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        """The response to ``request``.

        A server may close a kept connection just as it is used again; llama-server does so after
        every stream. That says nothing about the request, so it is sent again at once.
        """
        while True:
            is_new = _notice_connecting(request)
            try:
                return await self._client.send(request, stream=True)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                if is_new.is_set():
                    raise

    async def _chunks(self, response: httpx.Response) -> AsyncGenerator[Chunk, None]:
        """Chunks up to the answer's end; afterwards whatever comes in a little while."""
        parser, state, clock = EventParser(), _Progress(), asyncio.get_running_loop()
        deadline = clock.time() + self.address.timeout_s
        pieces = response.aiter_bytes()
        try:
            while piece := await self._awaited(anext(pieces, b""), deadline - clock.time()):
                for event in parser.feed(piece):
                    chunk = _read_event(event)
                    yield chunk
                    state.note(event, chunk)
                    deadline = clock.time() + self._patience_s(state.has_ended, chunk)
        except ServerError:
            # Nothing that comes after the answer's end matters.
            if not state.has_ended:
                raise
        if not (state.has_ended or state.may_have_ended):
            raise no_stream_fault(parser.stray) if parser.stray else broken_off_fault(state.aside)

    def _patience_s(self, has_ended: bool, chunk: Chunk) -> float:
        if chunk.is_last:
            return DONE_LINGER_S
        return LINGER_S if has_ended else self.address.timeout_s

    async def _awaited(self, work: Any, seconds: float) -> Any:
        try:
            async with asyncio.timeout(seconds):
                return await work
        except TimeoutError:
            waited = f"nothing came for {self.address.timeout_s:g} s"
            raise ServerError(waited) from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            by = f" by {self._proxy.variable}" if self._proxy else ""
            raise transport_fault(error, self.address.connect_timeout_s, by) from None


@dataclass
class _Progress:
    """How far a stream is.

    Attributes:
        may_have_ended: the last of the answer came with an end that is in no list.
        aside: the last event that was not about the answer.
    """

    has_ended: bool = False
    may_have_ended: bool = False
    aside: str = ""

    def note(self, event: Event, chunk: Chunk) -> None:
        self.has_ended = self.has_ended or chunk.ends
        if chunk.text or chunk.unknown_end:
            self.may_have_ended = chunk.unknown_end is not None
        if chunk == Chunk() and '"choices"' not in event.data:
            self.aside = event.data


def _read_event(event: Event) -> Chunk:
    if event.name == ERROR:
        raise told_fault(event.data)
    return Chunk() if event.name == "ping" else read_chunk(event.data)


def _notice_connecting(request: httpx.Request) -> asyncio.Event:
    """Set once ``request`` opens a connection of its own."""
    opened = asyncio.Event()

    async def trace(event: str, _: Mapping[str, Any]) -> None:
        if event.endswith("connect_tcp.started"):
            opened.set()

    request.extensions["trace"] = trace
    return opened


def _check_url(url: str) -> None:
    try:
        httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ScenarioError(f"base_url: {url}: {error}") from None


def _target(response: httpx.Response) -> str | None:
    """Where a redirect points."""
    place = response.headers.get("location")
    return urljoin(str(response.url), place) if response.is_redirect and place else None


async def _beginning(response: httpx.Response) -> bytes:
    """As much of an error's text as anybody will read."""
    body = b""
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > MOST_ERROR_BYTES:
            break
    return body
