"""The command line with wrong input, at random but seeded: ``python -m tests.support.fuzz``.

A case takes a command that works and changes some of it: an option, a value, key or character of
a file that it reads. Whatever that is, the command says what is wrong in a line that names the file
or argument, or does its job, within ten seconds and a gigabyte.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from planner.cli import app as cli
from profiles.store import content_hash
from tests import test_importing as importing

ROOT = Path(__file__).parents[2]
CODES = (0, 1, 2, 130)
# Of CPU time, since other work on the machine is no fault; and of the clock, for who sleeps.
SECONDS, WAIT = 10, 120
GIGABYTE = 2**30
# Of the process, so that a case that asks for everything gets an error instead.
ROOM = 6 * GIGABYTE
NAN, INF = float("nan"), float("inf")
NASTY: list[Any] = [
    *(-1, 0, 1, 2, 7, 1e-12, 1e-300, 0.5, -0.5, 1e12, 1e300, NAN, INF, -INF),
    *(10**30, 2**31, 2**32, 2**63, 999999999999, "9" * 50, None, True, False),
    *("", "x", "../../x", "/", "a\nb", "1e5", "nan", "é", "[b]"),
    *([], {}, [1], [None], {"a": 1}, [[]]),
]
WORDS = [
    "",
    "x",
    "-1",
    "0",
    "1",
    "2.5",
    "nan",
    "inf",
    "1e30",
    "9" * 5000,
    "é",
    "a\nb",
    "[b]",
    "all",
]
COUNTS = ["1", "2", "3", "0", "-1", "999999999999", "1.5"]
LAYOUT = ["rebuild", "append_rounds", "interleave", "rebuild_query_first"]
STAIRCASE = [
    *("normal", "constant:8,16,8", "constant:0,1,1", "constant:99999999999999999999,1,1"),
    *("constant:a,b,c", "constant:1,1", "constant:10000000,1,1", "geometric:4,inf,64,8"),
    *("geometric:4,nan,64,8", "geometric:4,2,64,8", "geometric:1,1.01,99999,1"),
    *("steps:8/4,16/8", "steps:8/4,4/8", "steps:/", "steps:1", "steps:0/1,0/1"),
]
BARRIER = [
    *("all", "quorum:1", "quorum:2", "quorum:0", "quorum:99999999999999999999"),
    *("grace:1,0.1", "grace:2,0", "grace:1,1e6", "grace:1,nan", "grace:1,inf"),
]
SLO = ["ttft:500", "e2e:1e300", "tpot:0", "ttft:nan", "ttft:-1", "ttft", "e2e:1e4"]
PATHS = ["out", "a/b/c", ".", "/dev/null", "/dev/null/x", "/proc/x", "", "scenario.yaml"]
OBJECTIVE = ["ttft", "ttft.p90", "stall", "unread", "e2e.p50", "capacity", "quality", "ttft.p200"]
LIMIT = ["ttft=1", "stall=nan", "quality=0.9", "ttft", "ttft.p90=inf", "x=1", "e2e=0", "unread=1"]
AGENTS = ["first", "second", "aggregator", "a1", "x"]
PLAYED = {"--staircase": STAIRCASE, "--layout": LAYOUT, "--barrier": BARRIER, "--without": AGENTS}
OPTIONS: dict[str, dict[str, list[str]]] = {
    "simulate": PLAYED
    | {"--reading": ["exact", "latest"], "--starve": ["wait", "write"], "--requests": COUNTS}
    | {"--revision": ["rewrite", "keep"]}
    | {"--replicates": COUNTS, "--slo": SLO, "--save": PATHS, "--trace": PATHS, "--out": PATHS},
    "capacity": PLAYED | {"--slo": SLO, "--share": ["0.5", "1", "0", "nan"], "--requests": COUNTS},
    "plan": {"--trials": COUNTS, "--seed": COUNTS, "--objective": OBJECTIVE, "--limit": LIMIT}
    | {"--storage": PATHS},
    "variants": {"--trials": COUNTS, "--seed": COUNTS},
    "compare": {"--reading-rate": ["1.1", "1", "100", "inf", "nan", "0"]},
    "explain": {"--out": PATHS},
    "import": {"--model": ["m", "x"], "--hardware": ["gpu", "x"], "--tp": COUNTS}
    | {"--layers": COUNTS, "--overhead-s": ["0", "0.1", "nan", "inf", "-1"], "--run": COUNTS},
}
# Commands that need what simulated engines do not have.
UNABLE = ("validate", "run", "tune", "engines", "profile")
EXAMPLES = ("paper_moa", "two_layers", "debate", "endpoints", "placement", "other_hardware")
TRACES = {
    "azure": "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n"
    "2023-11-16 18:15:50.9951690,396,109\n",
    "mooncake": '{"timestamp": 0, "input_length": 67, "output_length": 50, "hash_ids": [1]}\n'
    '{"timestamp": 3052, "input_length": 72, "output_length": 19, "hash_ids": [1]}\n',
    "own": '{"arrival_s": 0, "query_tokens": 12, "output_tokens": 20}\n'
    '{"arrival_s": 1.5, "query_tokens": 9, "output_tokens": 30}\n',
}
VLLM = json.dumps(
    {"ttfts": [0.1, 0.2], "itls": [[0.01, 0.02], [0.01]], "output_lens": [3, 2], "errors": ["", ""]}
)
SIM = '{"queued_ts": 1, "first_token_ts": 2, "last_token_ts": 3, "output_toks": 5}\n'
IMPORTS = {
    "splitwise": importing.splitwise,
    "aiconfigurator": importing.aiconfigurator,
    "llmservingsim": importing.llmservingsim,
}
LOAD_TESTS = {
    "vllm": importing.DETAILED,
    "guidellm": importing.GUIDELLM,
    "aiperf": importing.AIPERF,
}
# An engine with kernels that go so far.
KERNELS = {"kind": "simulated", "layers": 4, "max_num_batched_tokens": 64, "max_num_seqs": 8}
# A line that says of what it speaks without a file names one of these.
KEYS = re.compile(
    r"\b(engines|workload|plan|pipeline|profile|requests|variants|judge|staircase|barrier|layout|"
    r"reading|starve|engine|without|step|geometric|SLO|objectives?|limits?|capacity|storage|format|kv_blocks)\b"
)


class TooSlow(BaseException):
    """The case has had its seconds."""


@dataclass(frozen=True)
class Case:
    """Words of a command line, and the folder in which it is given."""

    words: list[str]
    folder: Path

    def __str__(self) -> str:
        return f"staircase {' '.join(map(repr, self.words))}"


class Seeds:
    """Files that work, made once; every case changes a copy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scenarios = {name: small_scenario(name) for name in EXAMPLES}
        base = folder / "base.yaml"
        base.write_text(yaml.safe_dump(self.scenarios["paper_moa"]))
        self.record, self.out = folder / "record.jsonl", folder / "out"
        self._run("simulate", str(base), "--save", str(self.record))
        self._run("plan", str(base), "--out", str(self.out))
        for command in UNABLE:  # Its imports are no case's time.
            run(Case([command, str(base)], folder))
        self.plan = (self.out / "plan.json").read_text()
        self.latency = small_profile()
        self.imports: dict[str, Path] = {}
        for name, make in IMPORTS.items():
            (folder / name).mkdir()
            self.imports[name] = make(folder / name)
        for name, content in LOAD_TESTS.items():
            self.imports[name] = importing.write(folder, f"{name}.json", content)
        self._compile(base)

    def _run(self, *words: str) -> None:
        code, told = run(Case(list(words), self.folder))
        assert code == 0, told

    def _compile(self, base: Path) -> None:
        """On tables and on SimPy, at rates and with kernels, so that it is no case's time."""
        content = copy.deepcopy(self.scenarios["paper_moa"])
        kernels = os.path.relpath(self.imports["llmservingsim"], self.folder)
        content["engines"]["aggregator"] = {**KERNELS, "kernels": kernels}
        other = self.folder / "kernels.yaml"
        other.write_text(yaml.safe_dump(content))
        for path in (base, other):
            self._run("simulate", str(path))
            self._run("simulate", str(path), "--starve", "write")


def small_scenario(name: str) -> Any:
    """An example with few and short requests, and a short search."""
    scenario = yaml.safe_load((ROOT / "examples" / f"{name}.yaml").read_text())
    workload = scenario["workload"]
    workload["requests"] = 3
    workload["output_tokens"] = dict.fromkeys(workload["output_tokens"], 30)
    scenario.setdefault("plan", {}).update(trials=2, held_out={"requests": 3})
    return scenario


def small_profile() -> Any:
    path = ROOT / "profiles" / "catalog" / "measured-cpu.json"
    document = json.loads(path.read_text())
    for engine in document["content"]["engines"].values():
        for points in ("prefill_points", "decode_points", "mixed_points"):
            engine[points] = engine.get(points, [])[:4]
    return document


# changes


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in ``tree`` with each of its keys or numbers."""
    keys = tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in list(keys):
        yield tree, key
        yield from places(tree[key])


def change_tree(rng: random.Random, tree: Any) -> Any:
    """A copy with one to three things otherwise: a value, a key, a whole part."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        found = list(places(tree))
        if not found:
            return rng.choice(NASTY)
        holder, key = rng.choice(found)
        kind = rng.random()
        if kind < 0.65:
            holder[key] = change_value(rng, holder[key])
        elif kind < 0.75:
            del holder[key]
        elif kind < 0.85 and isinstance(holder, dict):
            holder[change_text(rng, str(key)) or "x"] = holder.pop(key)
        else:
            other, place = rng.choice(found)
            holder[key] = copy.deepcopy(other.get(place) if isinstance(other, dict) else 1)
    return tree


def change_value(rng: random.Random, value: Any) -> Any:
    """Something else altogether, or of a number one that may be right as well."""
    if isinstance(value, bool) or not isinstance(value, int | float) or rng.random() < 0.4:
        return rng.choice(NASTY)
    other = value * rng.choice([0, -1, 0.01, 0.5, 2, 10])
    return min(int(other), 5000) if isinstance(value, int) else other


def change_text(rng: random.Random, text: str) -> str:
    """One or two places otherwise: a character, a number, a line; or the end is missing."""
    for _ in range(rng.choice([1, 1, 2])):
        place = rng.randrange(len(text) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            text = text[:place] + rng.choice("\0\x07[]{}:,-\"'#&*!|%@é\n\t 9e.") + text[place:]
        elif kind == 1:
            text = text[:place] + text[place + 1 :]
        elif kind == 2:
            text = text[:place]
        elif kind == 3:
            lines = text.split("\n")
            lines.insert(rng.randrange(len(lines)), rng.choice(lines))
            text = "\n".join(lines)
        else:
            numbers = list(re.finditer(r"\d+(\.\d+)?", text))
            if numbers:
                one = rng.choice(numbers)
                text = text[: one.start()] + str(rng.choice(NASTY)) + text[one.end() :]
    return text


def change_json(rng: random.Random, document: Any) -> str:
    """With a right hash half of the time, so that what comes behind that is met."""
    changed = change_tree(rng, document)
    if rng.random() < 0.7 and isinstance(changed, dict) and "content" in changed:
        changed["hash"] = content_hash(changed["content"])
    return json.dumps(changed)


# cases


def case_of(rng: random.Random, seeds: Seeds, folder: Path) -> Case:
    makers: list[tuple[int, Callable[[random.Random, Seeds, Path], list[str]]]] = [
        (44, simulated),
        (8, traced),
        (6, with_profile),
        (6, with_kernels),
        (6, planned),
        (4, rates),
        (2, placed),
        (8, compared),
        (6, explained),
        (6, imported),
        (3, shown),
        (5, without_engines),
    ]
    weights, functions = zip(*makers, strict=True)
    make = rng.choices(functions, weights)[0]
    words = make(rng, seeds, folder)
    options = OPTIONS.get(words[1] if words[0] == "profile" else words[0], {})
    for option in rng.choices([*options], k=rng.choice([0, 0, 1, 1, 2])) if options else ():
        words += [option, rng.choice(options[option] if rng.random() < 0.85 else WORDS)]
    if rng.random() < 0.3:
        words.append("--json" if rng.random() < 0.9 else rng.choice(["--jsn", "extra"]))
    return Case(words, folder)


def scenario_file(rng: random.Random, folder: Path, scenario: Any) -> str:
    path, kind = folder / "scenario.yaml", rng.random()
    if kind < 0.5:
        scenario = change_tree(rng, scenario)
    text = yaml.safe_dump(scenario, allow_unicode=True)
    path.write_text(change_text(rng, text) if kind > 0.85 else text)
    return str(path)


def simulated(rng: random.Random, seeds: Seeds, folder: Path) -> list[str]:
    scenario = seeds.scenarios[rng.choice(EXAMPLES)]
    return ["simulate", scenario_file(rng, folder, scenario)]


def traced(rng: random.Random, seeds: Seeds, folder: Path) -> list[str]:
    scenario = copy.deepcopy(seeds.scenarios["paper_moa"])
    form = rng.choice(list(TRACES))
    outputs = scenario["workload"]["output_tokens"]
    if rng.random() < 0.7:
        (folder / "trace").write_text(change_text(rng, TRACES[form]))
        outputs = {agent: n for agent, n in outputs.items() if agent != "aggregator"}
        scenario["workload"] = {
            "trace": {"file": "trace", "format": form},
            "output_tokens": outputs,
        }
    else:
        (folder / "lengths").write_text(change_text(rng, "tokens\n12\n40\n30\n"))
        outputs["first"] = {"file": "lengths", "column": "tokens"}
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump(scenario))
    return ["simulate", str(path)]


def with_profile(rng: random.Random, seeds: Seeds, folder: Path) -> list[str]:
    (folder / "latency.json").write_text(change_json(rng, seeds.latency))
    scenario = copy.deepcopy(seeds.scenarios["paper_moa"])
    engine = {"kind": "simulated", "profile": "latency.json", "max_num_batched_tokens": 64}
    scenario["engines"]["aggregator"] = {**engine, "max_num_seqs": 8}
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump(scenario))
    return ["simulate", str(path)]


def with_kernels(rng: random.Random, seeds: Seeds, folder: Path) -> list[str]:
    shutil.copytree(seeds.imports["llmservingsim"], folder / "kernels")
    change_file_in(rng, folder / "kernels")
    scenario = copy.deepcopy(seeds.scenarios["paper_moa"])
    scenario["engines"]["aggregator"] = {**KERNELS, "kernels": "kernels"}
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump(scenario))
    return ["simulate", str(path)]


def change_file_in(rng: random.Random, path: Path) -> None:
    files = sorted(file for file in path.rglob("*") if file.is_file()) or [path]
    file = rng.choice(files)
    file.write_text(change_text(rng, file.read_text()))


def planned(rng: random.Random, seeds: Seeds, folder: Path) -> list[str]:
    return ["plan", scenario_file(rng, folder, seeds.scenarios["paper_moa"]), "--out", str(folder)]


def rates(rng: random.Random, seeds: Seeds, folder: Path) -> list[str]:
    scenario = scenario_file(rng, folder, seeds.scenarios[rng.choice(["two_layers", "placement"])])
    return ["capacity", scenario, "--slo", rng.choice(["ttft:500", "e2e:5000", "tpot:0"])]


def placed(rng: random.Random, seeds: Seeds, folder: Path) -> list[str]:
    return [
        "variants",
        scenario_file(rng, folder, seeds.scenarios["placement"]),
        "--out",
        str(folder),
    ]


def compared(rng: random.Random, seeds: Seeds, folder: Path) -> list[str]:
    text = rng.choice([seeds.record.read_text(), seeds.record.read_text(), VLLM, SIM * 2])
    path = folder / "record"
    path.write_text(change_text(rng, text))
    return ["compare", *rng.choice([(str(seeds.record), str(path)), (str(path), str(path))])]


def explained(rng: random.Random, seeds: Seeds, folder: Path) -> list[str]:
    document = json.loads(seeds.plan)
    path = folder / "plan.json"
    path.write_text(change_json(rng, document))
    return ["explain", str(path)]


def imported(rng: random.Random, seeds: Seeds, folder: Path) -> list[str]:
    form = rng.choice(list(seeds.imports))
    source = seeds.imports[form]
    target = folder / source.name
    (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    change_file_in(rng, target)
    words = ["profile", "import", form, str(target), "--out", str(folder / "profile.json")]
    return words + (["--layers", "4"] if form == "llmservingsim" else [])


def shown(rng: random.Random, seeds: Seeds, folder: Path) -> list[str]:
    path = folder / "latency.json"
    path.write_text(change_json(rng, seeds.latency))
    first, second = str(path), rng.choice([str(path), "measured-cpu", "x"])
    page = ["plot", first, "--out", str(folder / "page.html")]
    return ["profile", *rng.choice([["show", first], ["compare", first, second], page])]


def without_engines(rng: random.Random, seeds: Seeds, folder: Path) -> list[str]:
    scenario = scenario_file(rng, folder, seeds.scenarios["paper_moa"])
    command = rng.choice([*UNABLE, "judge", "explain", "x"])
    return [command, scenario, "--out", str(folder / "out")]


# judging


def run(case: Case) -> tuple[int | None, str]:
    """The exit code, None for a traceback, and what stderr has to say."""
    out, err = io.StringIO(), io.StringIO()
    before, here = sys.argv, Path.cwd()
    sys.argv = ["staircase", *case.words]
    os.chdir(case.folder)
    code: int | None = None
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else -1
    except (Exception, TooSlow):
        err.write(traceback.format_exc())
    finally:
        sys.argv = before
        os.chdir(here)
    return code, err.getvalue()


def fault_of(case: Case, code: int | None, told: str) -> str | None:
    """What is wrong with how a case ended."""
    if code not in CODES:
        return f"exit code {code}"
    if "Traceback" in told or "Warning:" in told:
        return "traceback or warning"
    if code == 0 or "Usage:" in told:
        return None
    lines = [line for line in told.splitlines() if line.startswith(("error:", "engine:"))]
    if len(lines) != 1 or told.rstrip().splitlines()[-1] != lines[0]:
        return "not one line of error at the end"
    given = [Path(word).name if "/" in word else word for word in case.words[1:]]
    files = [path.name for path in case.folder.rglob("*")]
    named = any(word and word in lines[0] for word in [*given, *files, str(case.folder), " .: "])
    return None if named or KEYS.search(lines[0]) else "names neither file nor key"


def memory(key: str) -> int:
    """VmRSS or VmHWM, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{key}:")[2].split()[0]) * 1024


def watched(case: Case) -> tuple[int | None, str, str | None]:
    """Runs a case under its limits; exit code, what stderr says, and the fault if there is one."""
    Path("/proc/self/clear_refs").write_text("5")  # The peak counts from here.
    before, main = memory("VmRSS"), threading.main_thread().ident
    assert main is not None
    asleep = threading.Timer(WAIT, signal.pthread_kill, (main, signal.SIGPROF))
    asleep.start()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        code, told = run(case)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        asleep.cancel()
    fault = fault_of(case, code, told)
    if fault is None and memory("VmHWM") - before > GIGABYTE:
        fault = f"{(memory('VmHWM') - before) / GIGABYTE:.1f} GB"
    if fault is None and any(
        path.name != case.folder.name for path in case.folder.parent.iterdir()
    ):
        fault = "wrote outside its folder"
    return code, told, fault


def _too_slow(*_: object) -> None:
    raise TooSlow(f"more than {SECONDS} s of CPU time or {WAIT} s in all")


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """CPU time ends a case, memory ends it with an error; nothing is kept of one for the next."""
    old = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGPROF, _too_slow)
    names: Any = vars(cli)
    collector = names["gc"]
    names["gc"] = SimpleNamespace(set_threshold=lambda _: None, freeze=lambda: None)
    resource.setrlimit(resource.RLIMIT_AS, (memory("VmSize") + ROOM, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old)
        names["gc"] = collector
        signal.signal(signal.SIGPROF, handler)


def fuzz(cases: Sequence[int], seed: int) -> tuple[Counter[str], list[str]]:
    """Runs the cases of these numbers; how often they ended how, and a text for each fault."""
    seen: Counter[str] = Counter()
    faults = []
    with tempfile.TemporaryDirectory() as place, limits():
        made = Path(place) / "seeds"
        made.mkdir()
        seeds = Seeds(made)
        for number in cases:
            folder = Path(place) / "cases" / "case"
            folder.mkdir(parents=True)
            case = case_of(random.Random(f"{seed} {number}"), seeds, folder)
            code, told, fault = watched(case)
            seen[f"{case.words[0]}: {code}"] += 1
            if fault:
                faults.append(f"case {number}: {fault}: {case}\n{told[-1500:]}")
            shutil.rmtree(Path(place) / "cases")
    return seen, faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    seen, faults = fuzz(range(options.first, options.first + options.cases), options.seed)
    print("\n".join(faults))
    for ended, count in sorted(seen.items()):
        print(f"{ended}: {count}")
    print(f"{len(faults)} faults")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
