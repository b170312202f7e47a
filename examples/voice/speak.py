"""Plays what a speech recogniser hears against a served plan, in real time, and says how long the
answer takes after the last word.

    python examples/voice/speak.py examples/voice/heard.jsonl --plan runs/voice/plan.json

Each line of the file is a question: what was heard, and from how many seconds on. Beside the times
stand the plan's forecasts, if it is given. Needs httpx, as staircase has it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

# Tokens a second that somebody reads, or a voice speaks.
READING_RATE = 5.3
INPUT = "heard"


@dataclass
class Answer:
    """As its reader has it: when each piece came, and where its text ends then."""

    text: str = ""
    pieces: list[tuple[float, int]] = field(default_factory=list)
    taken_back: int = 0

    def hear(self, event: dict[str, Any]) -> None:
        keeps = (event.get("staircase") or {}).get("keeps")
        if keeps is not None:
            self.taken_back += len(self.text) - keeps
            self.text = self.text[:keeps]
            self.pieces = [piece for piece in self.pieces if piece[1] <= keeps]
        for choice in event["choices"]:
            more = choice["delta"].get("content")
            if more:
                self.text += more
                self.pieces.append((time.monotonic(), len(self.text)))

    def seconds_after(self, moment: float, rate: float) -> dict[str, float]:
        """First token, smooth start and last token of what stands."""
        at = [seconds - moment for seconds, _ in self.pieces]
        start = max(seconds - number / rate for number, seconds in enumerate(at))
        return {"first_token": at[0], "smooth_start": start, "last_token": at[-1]}


class Speaker(threading.Thread):
    """Says a question as the recogniser hears it.

    Attributes:
        last_word_s: when it said the last that was new.
    """

    def __init__(self, client: httpx.Client, answer: str, heard: Sequence[dict[str, Any]]) -> None:
        super().__init__()
        self._client, self._answer, self._heard = client, answer, heard
        self.last_word_s = time.monotonic()

    def run(self) -> None:
        began = time.monotonic()
        for number, said in enumerate(self._heard, start=1):
            time.sleep(max(0.0, began + said["at"] - time.monotonic()))
            self.last_word_s = time.monotonic()
            is_last = number == len(self._heard)
            update = {"input": INPUT, "text": said["text"], "is_last": is_last}
            done = self._client.post(f"inputs/{self._answer}", json=update)
            if done.status_code in (404, 409):
                return  # The answer did not wait for the rest.
            done.raise_for_status()


def asked(
    client: httpx.Client, model: str, question: dict[str, Any], corrections: bool, rate: float
) -> tuple[Answer, dict[str, float]]:
    """The answer, and seconds after the last word."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question["query"]}],
        "stream": True,
        "live_inputs": [INPUT],
        "corrections": corrections,
    }
    answer = Answer()
    with client.stream("POST", "chat/completions", json=body) as stream:
        if stream.status_code != 200:
            raise SystemExit(stream.read().decode())
        speaker = Speaker(client, stream.headers["staircase-inputs"], question["inputs"][INPUT])
        speaker.start()
        for event in events(stream):
            answer.hear(event)
    speaker.join()
    if not answer.pieces:
        raise SystemExit("the answer has no words")
    return answer, answer.seconds_after(speaker.last_word_s, rate)


def events(stream: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in stream.iter_lines():
        if line.startswith("data: {"):
            event = json.loads(line.removeprefix("data: "))
            if "error" in event:
                raise SystemExit(event["error"]["message"])
            yield event


def forecasts(plan: Path | None, point: str) -> dict[str, float]:
    """By the names of the figures above."""
    if plan is None:
        return {}
    from planner.results.plans import load_plan

    found = load_plan(plan).named()[point].forecast
    named = {"smooth_start": "start_after_input_s", "last_token": "last_after_input_s"}
    return {name: found[metric].mean for name, metric in named.items() if metric in found}


def answers(given: argparse.Namespace) -> Iterator[dict[str, float]]:
    """Asks each question, prints what is answered, and gives its figures."""
    with httpx.Client(base_url=given.url, timeout=120) as client:
        for line in given.questions.read_text().splitlines():
            question = json.loads(line)
            answer, seconds = asked(client, given.model, question, not given.hold, given.rate)
            print(f"{question['inputs'][INPUT][-1]['text']}\n  {answer.text.strip()}")
            print("  " + ", ".join(f"{name} {value:+.2f} s" for name, value in seconds.items()))
            yield seconds | {"taken_back": answer.taken_back}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    options.add_argument("questions", type=Path)
    options.add_argument("--url", default="http://127.0.0.1:8080/v1/")
    options.add_argument("--model", default="voice", help="the plan, or as voice@normal")
    options.add_argument("--plan", type=Path, help="its file, for the forecasts")
    options.add_argument("--hold", action="store_true", help="take no text that may be taken back")
    options.add_argument("--rate", type=float, default=READING_RATE, help="of the listener")
    given = options.parse_args()
    try:
        rows = [*answers(given)]
    except httpx.TransportError as error:
        options.error(f"{given.url}: {error}; start 'staircase serve', and wait for its line")
    said = forecasts(given.plan, "normal" if given.model.endswith("@normal") else "chosen")
    print("\nafter the last word, mean of", len(rows))
    for name in ("first_token", "smooth_start", "last_token"):
        beside = f"  (forecast {said[name]:+.2f} s)" if name in said else ""
        print(f"  {name:13}{statistics.mean(row[name] for row in rows):+.2f} s{beside}")
    print(f"  letters taken back {statistics.mean(row['taken_back'] for row in rows):.1f}")


if __name__ == "__main__":
    main()
