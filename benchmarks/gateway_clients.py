"""Clients that others made, against a served plan.

    python -m benchmarks.gateway_clients [schemathesis] [litellm] [aiperf]

Each is installed from the package index into an environment of its own, ``.venv-clients/NAME``, as
their needs contradict each other. The plan is served on engines that recite:

* Schemathesis sends requests that it makes of the published schema, and looks for answers of 500.
* LiteLLM's proxy stands in front; the openai SDK asks it, streaming and not.
* AIPerf loads it; its time to first token stands beside the one of ``/metrics``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import openai
import yaml

from benchmarks.gateway_load import UP_WITHIN_S, URL, serving, ttft_told_s, whole_of
from tests.support.gateway_server import PLAN
from tests.support.letter_model import save_letter_model
from tests.support.until_up import started

PACKAGES = {
    "schemathesis": "schemathesis",
    "litellm": "litellm[proxy]",
    "aiperf": "aiperf",
}
ENVIRONMENTS = Path(__file__).parents[1] / ".venv-clients"
SEATS, TOKENS, TOKEN_MS = 16, 24, 5.0
# Of each operation.
CASES = 1000
PROXY, KEY = 18093, "sk-staircase"
REQUESTS = 64


def programs_of(name: str) -> Path:
    """The folder of a client's programs, which are installed unless they are there."""
    folder = ENVIRONMENTS / name
    if not (folder / "installed").is_file():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = folder / "bin" / "pip"
        subprocess.run([pip, "install", "--quiet", PACKAGES[name]], check=True)
        (folder / "installed").touch()
    return folder / "bin"


def schemathesis(programs: Path) -> None:
    # Its phase of coverage fails by itself on this schema (4.32.5).
    words = ["run", f"{URL}/openapi.json", "--phases", "fuzzing,stateful"]
    words += ["--checks", "not_a_server_error"]
    words += ["--max-examples", str(CASES), "--workers", "2", "--request-timeout", "20"]
    done = subprocess.run([programs / "schemathesis", *words], check=False)
    print(f"schemathesis ended with {done.returncode}")


def litellm(programs: Path) -> None:
    entry = {
        "model_name": "staircase",
        "litellm_params": {"model": f"openai/{PLAN}", "api_base": f"{URL}/v1", "api_key": "none"},
    }
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "proxy.yaml"
        settings = {"model_list": [entry], "general_settings": {"master_key": KEY}}
        config.write_text(yaml.safe_dump(settings))
        words: list[Path | str] = [programs / "litellm", "--config", config, "--port", str(PROXY)]
        alive = f"http://127.0.0.1:{PROXY}/health/liveliness"
        with started(words, alive, UP_WITHIN_S, is_quiet=True):
            ask_proxy()


def ask_proxy() -> None:
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{PROXY}/v1", api_key=KEY, max_retries=0)
    whole = client.chat.completions.create(
        model="staircase", messages=[{"role": "user", "content": "why"}]
    )
    stream = client.chat.completions.create(
        model="staircase", messages=[{"role": "user", "content": "why"}], stream=True
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    told = whole.choices[0].message.content == "".join(pieces) == whole_of(TOKENS)
    print(
        f"litellm: {len(list(filter(None, pieces)))} pieces of {TOKENS} tokens, same text: {told}"
    )


def aiperf(programs: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer, out = Path(folder) / "tokenizer", Path(folder) / "out"
        save_letter_model(tokenizer)
        words = ["profile", "--model", PLAN, "--url", URL, "--endpoint-type", "chat"]
        words += ["--streaming", "--concurrency", "4", "--request-count", str(REQUESTS)]
        words += ["--tokenizer", str(tokenizer), "--synthetic-input-tokens-mean", "32"]
        words += ["--ui", "none", "--output-artifact-dir", str(out)]
        subprocess.run([programs / "aiperf", *words], check=True)
        found = json.loads(next(out.rglob("profile_export_aiperf.json")).read_text())
    print(f"aiperf: first token {found['time_to_first_token']['avg']:.1f} ms")
    print(f"/metrics: first token {ttft_told_s() * 1e3:.1f} ms")


CLIENTS: Mapping[str, Callable[[Path], None]] = {
    "schemathesis": schemathesis,
    "litellm": litellm,
    "aiperf": aiperf,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clients", nargs="*", choices=[[], *CLIENTS], default=[])
    parser.add_argument("--clean", action="store_true", help="remove the environments")
    given = parser.parse_args()
    if given.clean:
        shutil.rmtree(ENVIRONMENTS, ignore_errors=True)
        return
    for name in given.clients or CLIENTS:
        programs = programs_of(name)
        with started(serving(SEATS, TOKENS, TOKEN_MS), f"{URL}/ready", UP_WITHIN_S):
            CLIENTS[name](programs)


if __name__ == "__main__":
    main()
