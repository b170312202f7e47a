"""A real server: ``transformers serve`` on loopback, which loads whatever folder is asked for."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

UP_WITHIN_S = 120.0
OPTIONS = "--continuous-batching --cb-block-size 32 --cb-num-blocks 512 --cb-max-batch-tokens 1024"


@contextmanager
def transformers_serve(folder: Path) -> Iterator[str]:
    """Its base URL. Skips the test where the server cannot be started; logs go to ``folder``."""
    for extra in ("fastapi", "uvicorn"):
        pytest.importorskip(extra, reason=f"transformers serve needs {extra}")
    program, port, log = Path(sys.executable).parent / "transformers", _free_port(), folder / "log"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    words = f"serve --device cpu --host 127.0.0.1 --port {port} {OPTIONS}".split()
    with log.open("w") as out:
        try:
            server = subprocess.Popen([program, *words], env=environment, stdout=out, stderr=out)
        except OSError as error:
            pytest.skip(f"transformers serve cannot be started: {error}")
    try:
        _wait(server, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(30)


def _wait(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + UP_WITHIN_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            pytest.skip(f"transformers serve ended at once: {log.read_text()[-300:]}")
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.3)
    pytest.skip(f"transformers serve did not come up within {UP_WITHIN_S:g} s")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
