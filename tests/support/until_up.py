"""Waiting for a server that was started."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

BETWEEN_S = 0.1


def is_up(server: subprocess.Popen[bytes], url: str, within_s: float) -> bool:
    """Whether ``url`` answers with 200 before the time is over, or the ``server``."""
    deadline = time.monotonic() + within_s
    while server.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return True
        except httpx.HTTPError:
            pass
        time.sleep(BETWEEN_S)
    return False


@contextmanager
def started(
    words: Sequence[str | Path], url: str, within_s: float, is_quiet: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that answers at ``url``; ends the program where it does not come up."""
    with subprocess.Popen(words, stdout=subprocess.DEVNULL if is_quiet else None) as server:
        try:
            if not is_up(server, url, within_s):
                sys.exit(f"{url}: did not come up")
            yield server
        finally:
            server.terminate()
