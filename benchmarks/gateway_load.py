"""The gateway under load, on engines that recite.

    python -m benchmarks.gateway_load [--clients 64] [--seconds 180]
    python -m benchmarks.gateway_load --overload 10
    python -m benchmarks.gateway_load --requests 100000 --tokens 4 --token-ms 1

Clients stream one answer after the other and check that no token is lost or doubled. Of the
process of the gateway: CPU a token, memory after a sixth of the time and in the end, sockets and
threads that are left. With ``--overload`` requests come at random times instead, so many times as
often as they can be answered, and it is told how soon they are refused. With ``--requests`` clients
ask so many in all instead of some seconds long. The engines compute nothing, so what is counted is
the gateway, the runtime and the scripts themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from executor.gateway.gateway import Gateway
from executor.gateway.listening import Listening, listen
from executor.gateway.served_plan import ServingLimits
from tests.support.gateway_server import PLAN, plan_on, scripted
from tests.support.loop_engine import FIRST, LoopEngine
from tests.support.until_up import started

PORT = 18090
UP_WITHIN_S = 60.0
URL = f"http://127.0.0.1:{PORT}"


@dataclass
class SeenByClients:
    """What clients saw; ``whole`` is what every answer must be."""

    whole: str
    statuses: Counter[int] = field(default_factory=Counter)
    schedules: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    tokens: int = 0
    refused_s: list[float] = field(default_factory=list)
    ttft_s: list[float] = field(default_factory=list)


def whole_of(tokens: int) -> str:
    """What an engine recites that writes so many."""
    return "".join(chr(FIRST + number) for number in range(tokens))


def serve(concurrency: int, queue: int, tokens: int, token_s: float) -> None:
    """In a process of its own."""
    engines = {name: LoopEngine(tokens, token_s=token_s) for name in ("ann", "bo", "ed")}
    plan = plan_on(scripted(**engines), limits=ServingLimits(concurrency, queue))
    listen(Gateway([plan]), Listening(port=PORT))


async def one(client: httpx.AsyncClient, seen: SeenByClients) -> None:
    body = {"model": PLAN, "messages": [{"role": "user", "content": "why"}], "stream": True}
    began, text = time.perf_counter(), ""
    async with client.stream("POST", f"{URL}/v1/chat/completions", json=body) as answer:
        seen.statuses[answer.status_code] += 1
        if answer.status_code != 200:
            seen.refused_s.append(time.perf_counter() - began)
            return
        seen.schedules[answer.headers["staircase-schedule"]] += 1
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                content = json.loads(line[6:])["choices"][0]["delta"]["content"]
                if content and not text:
                    seen.ttft_s.append(time.perf_counter() - began)
                text += content
    seen.tokens += len(text)
    seen.wrong += text != seen.whole


async def clients(
    count: int, seconds: float, requests: float, seen: SeenByClients, watch: int | None
) -> list[int]:
    """Some seconds long, or until so many ``requests`` were asked.

    Returns resident memory of the process ``watch``, in KiB, after a sixth and in the end.
    """
    began, memory, asked = time.monotonic(), list[int](), 0
    limits = httpx.Limits(max_connections=count, max_keepalive_connections=count)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client:

        def done() -> float:
            return max((time.monotonic() - began) / seconds, asked / requests)

        async def ask() -> None:
            nonlocal asked
            while done() < 1:
                asked += 1
                await one(client, seen)

        tasks = [asyncio.create_task(ask()) for _ in range(count)]
        while done() < 1 / 6:
            await asyncio.sleep(0.05)
        memory.append(resident_kib(watch))
        await asyncio.gather(*tasks)
    memory.append(resident_kib(watch))
    return memory


async def offered(rate: float, seconds: float, seen: SeenByClients) -> None:
    """Requests at random times, each asked once, whatever became of those before."""
    rng, asked = random.Random(0), set[asyncio.Task[None]]()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            asked.add(asyncio.create_task(one(client, seen)))
            await asyncio.sleep(rng.expovariate(rate))
        await asyncio.gather(*asked)


def overload(seats: int, times: int, seconds: float, whole: str) -> None:
    """``times`` as many requests as ``seats`` clients get answered, one after the other."""
    alone = SeenByClients(whole)
    began = time.monotonic()
    asyncio.run(clients(seats, seconds / 4, math.inf, alone, os.getpid()))
    capacity = alone.statuses[200] / (time.monotonic() - began)
    seen = SeenByClients(whole)
    asyncio.run(offered(times * capacity, seconds, seen))
    print(f"capacity {capacity:.1f}/s, offered {times} times that for {seconds:.0f} s")
    print(f"{dict(seen.statuses)}, wrong answers {seen.wrong}; schedules {dict(seen.schedules)}")
    cuts = statistics.quantiles(seen.refused_s, n=100)
    print(f"429 after {cuts[49] * 1e3:.1f} ms, p99 {cuts[98] * 1e3:.1f} ms")


def resident_kib(process: int | None) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def cpu_s(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def left(process: int) -> tuple[int, int]:
    """Open files and threads."""
    folder = Path(f"/proc/{process}")
    return len(list((folder / "fd").iterdir())), len(list((folder / "task").iterdir()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--requests", type=int, help="in all, in place of --seconds")
    parser.add_argument("--tokens", type=int, default=48, help="of a text")
    parser.add_argument("--token-ms", type=float, default=20.0, help="from one to the next")
    parser.add_argument("--overload", type=int, help="so many times what eight seats can answer")
    parser.add_argument("--serve", nargs=2, type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        seats, queue = given.serve
        serve(seats, queue, given.tokens, given.token_ms / 1e3)
        return
    seats = 8 if given.overload else given.clients
    whole = whole_of(given.tokens)
    words = serving(seats, given.tokens, given.token_ms)
    with started(words, f"{URL}/ready", UP_WITHIN_S) as process:
        if given.overload:
            overload(seats, given.overload, given.seconds, whole)
        else:
            seconds = math.inf if given.requests else given.seconds
            requests = given.requests or math.inf
            report(process.pid, given.clients, seconds, requests, whole)


def serving(seats: int, tokens: int, token_ms: float) -> list[str]:
    """The command that serves so many at once, and lets as many wait."""
    words = [sys.executable, "-m", "benchmarks.gateway_load", "--serve", str(seats), str(seats)]
    return [*words, "--tokens", str(tokens), "--token-ms", str(token_ms)]


def report(process: int, count: int, seconds: float, requests: float, whole: str) -> None:
    asyncio.run(clients(2, 1, math.inf, SeenByClients(whole), process))
    before, began, cpu = left(process), time.monotonic(), cpu_s(process)
    seen = SeenByClients(whole)
    memory = asyncio.run(clients(count, seconds, requests, seen, process))
    took, used = time.monotonic() - began, cpu_s(process) - cpu
    time.sleep(1)
    told_s = ttft_told_s()
    print(f"{count} clients, {took:.0f} s: {dict(seen.statuses)}, wrong answers {seen.wrong}")
    print(f"schedules {dict(seen.schedules)}")
    print(f"{seen.tokens} tokens, {used / max(1, seen.tokens) * 1e3:.3f} ms CPU a token")
    print(f"memory {memory[0] / 1024:.0f} MiB, in the end {memory[1] / memory[0] - 1:+.1%}")
    print(f"files and threads before {before}, after {left(process)}")
    mine_s = statistics.fmean(seen.ttft_s)
    print(f"first token {mine_s:.4f} s as clients saw it, {told_s:.4f} s by /metrics")


def ttft_told_s() -> float:
    """The mean by /metrics, of all schedules, the two clients before among them."""
    lines = httpx.get(f"{URL}/metrics").text.splitlines()

    def total(name: str) -> float:
        found = (line.split()[-1] for line in lines if line.startswith(f"staircase_{name}{{"))
        return sum(map(float, found))

    return total("ttft_seconds_sum") / total("ttft_seconds_count")


if __name__ == "__main__":
    main()
