"""The command that serves plans."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner.cli.terminal import AsJson, OutFolder, finite, on_terminal, print_json
from staircase.bounds import LEAST_KEEP_ALIVE_S, LONGEST_RUN_S, MOST, MOST_PORT
from staircase.errors import InputError

if TYPE_CHECKING:
    from executor.gateway.gateway import Gateway


PlannedScenarios = Annotated[
    list[Path], typer.Argument(help="Scenario files (YAML) that were planned.", show_default=False)
]
KeysPath = Annotated[
    Path | None,
    typer.Option(help="Only these clients may ask: YAML, NAME: {key: …, concurrency: …}."),
]
GraceS = Annotated[
    float,
    typer.Option(
        min=0,
        max=LONGEST_RUN_S,
        callback=finite,
        help="Seconds that answers on their way have after a signal.",
    ),
]
KeepAliveS = Annotated[
    float,
    typer.Option(
        min=LEAST_KEEP_ALIVE_S,
        max=LONGEST_RUN_S,
        callback=finite,
        help="Seconds of silence in a stream.",
    ),
]


def serve(
    scenarios: PlannedScenarios,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=MOST_PORT, help="Port to listen at.")] = 8080,
    keys: KeysPath = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Key of the certificate, PEM.")] = None,
    grace: GraceS = 30.0,
    max_body: Annotated[int, typer.Option(min=1, max=MOST, help="KiB of a request's body.")] = 4096,
    keep_alive: KeepAliveS = 10.0,
    replan: Annotated[
        bool,
        typer.Option(
            help="Plan again beside serving when answers take a tenth more or less than forecast."
        ),
    ] = False,
    verbose: Annotated[
        bool, typer.Option(help="Log what servers say when they fail, parts of prompts among it.")
    ] = False,
    out: OutFolder = None,
    as_json: AsJson = False,
) -> None:
    """Serve plans behind an OpenAI-compatible API, a model name for each.

    NAME is answered by the plan's schedule, NAME@normal after all drafts are read, NAME@single by
    one model alone, NAME@front-1, NAME@front-2 and so on by others of the plan's front.
    """
    from executor.gateway.app import Settings
    from executor.gateway.listening import Listening
    from planner.api.serving import serve as serve_plans
    from planner.cli.keys_file import load_keys

    _check_given(scenarios, out, tls_cert, tls_key)
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("staircase").setLevel(logging.DEBUG if verbose else logging.INFO)
    listening = Listening(
        host,
        port,
        grace,
        None if tls_cert is None else str(tls_cert),
        None if tls_key is None else str(tls_key),
        Settings(keep_alive, max_body << 10),
    )

    def tell(gateway: Gateway) -> None:
        if as_json:
            models = [one["id"] for one in gateway.models()]
            print_json({"url": listening.url, "models": models})
            sys.stdout.flush()

    serve_plans(
        *scenarios,
        listening=listening,
        keys=load_keys(keys) if keys is not None else None,
        out=out,
        replans=replan,
        progress=on_terminal(),
        on_open=tell,
    )


def _check_given(
    scenarios: list[Path], out: Path | None, tls_cert: Path | None, tls_key: Path | None
) -> None:
    if out is not None and len(scenarios) > 1:
        raise InputError("--out is the folder of one scenario's plan; several are given")
    if (tls_cert is None) != (tls_key is None):
        raise InputError("--tls-cert and --tls-key go together; give both")
    for path in (tls_cert, tls_key):
        if path is not None and not path.is_file():
            raise InputError(f"{path}: no such file")
