"""Waiting for a server that was started."""

from __future__ import annotations

import subprocess
import time

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
