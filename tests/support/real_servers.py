"""Real servers on loopback, started by tests: ``transformers serve``, ``llama-server``, vLLM.

Tests that need one that is not installed are skipped; docs/servers.md says how to get it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.llama_build import binary
from tests.support.until_up import is_up

# vLLM took 120 s on two cores with much else to do.
UP_WITHIN_S = 240.0


@dataclass(frozen=True)
class Place:
    """Where a server runs.

    Attributes:
        model: a folder written by ``save_pretrained``, for ``llama-server`` also a GGUF file; also
            the name under which it is served.
        folder: for the server's own files.
    """

    model: Path
    folder: Path
    port: int


@dataclass(frozen=True, eq=False)
class ServerKind:
    """``command`` may skip the test. ``marks`` are of tests that need it."""

    command: Callable[[Place], Sequence[str | Path]]
    environment: Mapping[str, str] = field(default_factory=dict)
    marks: Sequence[pytest.MarkDecorator] = (pytest.mark.slow,)


def _transformers(place: Place) -> list[str | Path]:
    for extra in ("fastapi", "uvicorn"):
        pytest.importorskip(extra, reason=f"transformers serve needs {extra}")
    options = "--continuous-batching --cb-block-size 32 --cb-num-blocks 512"
    program = Path(sys.executable).parent / "transformers"
    words = f"{options} --cb-max-batch-tokens 1024 --device cpu --host 127.0.0.1 --port"
    return [program, "serve", *words.split(), str(place.port)]


def _llama(place: Place, slots: int = 4, context: int = 4096) -> list[str | Path]:
    from tests.support.gguf_model import write_gguf

    if place.model.suffix == ".gguf":
        return _llama_of(place.model, place.port, slots, context)
    file = place.folder / "model.gguf"
    write_gguf(place.model, file)
    return _llama_of(file, place.port, slots, context)


def _llama_of(file: Path, port: int, slots: int, context: int) -> list[str | Path]:
    wanted = os.environ.get("STAIRCASE_LLAMA_SERVER") or binary()
    program = shutil.which(wanted)
    if program is None:
        pytest.skip(f"no {wanted}; 'make llama-server' builds one (7 to 18 min)")
    # fp32 wherever it would else be less, so that greedy text is the other engines'.
    words = f"-np {slots} -c {context * slots} -t 1 -ctk f32 -ctv f32 -fa off --metrics"
    return [program, "-m", file, *words.split(), "--host", "127.0.0.1", "--port", str(port)]


def _llama_alone(place: Place) -> list[str | Path]:
    """One call at a time, as long as the letter model's context."""
    return _llama(place, slots=1, context=32768)


def _llama_guessing(place: Place) -> list[str | Path]:
    """What followed the last three tokens before is guessed to follow again."""
    words = "--spec-type ngram-simple --spec-ngram-simple-size-n 3 --spec-ngram-simple-size-m 8"
    return [*_llama(place, slots=1, context=2048), *words.split()]


def _vllm(place: Place) -> list[str | Path]:
    program = os.environ.get("STAIRCASE_VLLM")
    if not program:
        pytest.skip("STAIRCASE_VLLM names no vllm; docs/servers.md says how to install it")
    words = (
        "--dtype float32 --max-model-len 1024 --block-size 32 --enable-prefix-caching "
        "--enable-prompt-tokens-details --enforce-eager --scheduling-policy priority "
        "--host 127.0.0.1 --port"
    )
    return [program, "serve", place.model, *words.split(), str(place.port)]


OFFLINE = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
VLLM_ON_CPU = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
}
SERVERS: Mapping[str, ServerKind] = {
    "transformers serve": ServerKind(_transformers, OFFLINE),
    "llama-server": ServerKind(_llama),
    "vllm": ServerKind(_vllm, OFFLINE | VLLM_ON_CPU, (pytest.mark.slow, pytest.mark.vllm)),
}
ONE_SLOT = ServerKind(_llama_alone)
GUESSING = ServerKind(_llama_guessing)


def server_params(names: Iterable[str]) -> list[object]:
    """Servers as parameters of a test, with their marks."""
    return [pytest.param(name, marks=SERVERS[name].marks) for name in names]


class RealServers:
    """Starts each server for each model once, when it is first asked for."""

    def __init__(self, stack: ExitStack, folder: Callable[[], Path]) -> None:
        self._stack = stack
        self._folder = folder
        self._urls: dict[tuple[ServerKind, Path], str] = {}

    def url(self, kind: ServerKind, model: Path) -> str:
        """Base URL of a server with ``model``; skips the test if there is none."""
        if (kind, model) not in self._urls:
            server = self._stack.enter_context(serving(kind, model, self._folder()))
            self._urls[kind, model] = server.url
        return self._urls[kind, model]


@dataclass(frozen=True)
class RunningServer:
    """``url`` is the base of its API."""

    url: str
    process: subprocess.Popen[bytes]


@contextmanager
def serving(kind: ServerKind, model: Path, folder: Path) -> Iterator[RunningServer]:
    """A server with ``model``; its log goes to ``folder``."""
    place = Place(model, folder, _free_port())
    words, log = kind.command(place), folder / "log"
    with log.open("w") as out:
        try:
            server = subprocess.Popen(
                words,
                env=os.environ | kind.environment,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        except OSError as error:
            pytest.skip(f"{words[0]} cannot be started: {error}")
    try:
        _wait(server, f"http://127.0.0.1:{place.port}/health", log)
        yield RunningServer(f"http://127.0.0.1:{place.port}/v1", server)
    finally:
        _stop(server)


def _wait(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    if is_up(server, url, UP_WITHIN_S):
        return
    if server.poll() is not None:
        raise RuntimeError(f"{server.args!r} ended at once: {log.read_text()[-300:]}")
    raise RuntimeError(f"{server.args!r} did not come up within {UP_WITHIN_S:g} s")


def _stop(server: subprocess.Popen[bytes]) -> None:
    """With the processes that it started, if it leaves any."""
    server.terminate()
    try:
        server.wait(30)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
