"""The application behind a socket, until a signal ends it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import FrameType

import uvicorn

from executor.gateway.app import Settings, make_app
from executor.gateway.gateway import Gateway

# What is written when the grace period is over may take so long to be sent.
LAST_S = 5.0
# A connection that nobody uses is kept longer than by clients (httpx: 5 s) and balancers (mostly
# 60 s): who closes first may meet a request that is on its way.
KEPT_S = 75


@dataclass(frozen=True)
class Listening:
    """Where and how the server listens.

    Attributes:
        grace_s: after a signal, answers on their way have so long before they end where they are.
        cert_file, key_file: PEM files of TLS; None: none.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    grace_s: float = 30.0
    cert_file: str | None = None
    key_file: str | None = None
    settings: Settings = field(default_factory=Settings)

    @property
    def url(self) -> str:
        """What clients give as base URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.cert_file else ''}://{host}:{self.port}/v1"


class GracefulServer(uvicorn.Server):
    """At a signal it goes on for what is being answered; a second one ends it at once.

    New requests are told so (503) instead of finding nobody.
    """

    def __init__(self, config: uvicorn.Config, gateway: Gateway, grace_s: float) -> None:
        super().__init__(config)
        self._gateway = gateway
        self._grace_s = grace_s
        self._ends_s: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._gateway.is_draining:
            self.force_exit = self.should_exit = True
        self._gateway.is_draining = True
        self._ends_s = time.monotonic() + self._grace_s

    async def on_tick(self, counter: int) -> bool:
        if self._ends_s is not None and not self.should_exit:
            is_late = time.monotonic() >= self._ends_s
            if is_late:
                await self._gateway.stop(LAST_S)
            self.should_exit = is_late or not self._gateway.running
        return await super().on_tick(counter)


def listen(gateway: Gateway, listening: Listening) -> None:
    """Serves until a signal."""
    server_of(gateway, listening).run()


def server_of(gateway: Gateway, listening: Listening) -> GracefulServer:
    config = uvicorn.Config(
        make_app(gateway, listening.settings),
        listening.host,
        listening.port,
        log_level="warning",
        access_log=False,
        ssl_certfile=listening.cert_file,
        ssl_keyfile=listening.key_file,
        timeout_graceful_shutdown=int(LAST_S),
        timeout_keep_alive=KEPT_S,
    )
    return GracefulServer(config, gateway, listening.grace_s)
