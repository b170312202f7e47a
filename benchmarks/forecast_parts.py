"""Where a forecast of in-process engines errs: parts of requests, forecast beside measured.

    python -m benchmarks.forecast_parts FOLDER [REQUESTS]

FOLDER holds the profiles of the demo (``staircase profile planner/demo.yaml --out FOLDER``). Plans
from the measured profile, plays one round of ``staircase tune`` and prints, over all schedules,
what each part of the same requests took at the pace of the profile, with and without corrections.
The latter are fitted on these very runs.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from executor.line_log import ItemLog, LineLog
from executor.opened_engines import open_engines
from planner.search.search import search
from planner.tuning.correcting import Compared, Model, compare_runs
from planner.tuning.pace import reference_of
from planner.tuning.run_log import PlayedRun
from planner.tuning.tune import Tuner
from planner.tuning.tuning_rounds import TuningEffort
from planner.workspace import Workspace

DEMO = Path(__file__).parents[1] / "planner" / "demo.yaml"


def main() -> None:
    work = Workspace.open(DEMO, Path(sys.argv[1]))
    requests = int(sys.argv[2]) if len(sys.argv) > 2 else 8
    forecaster = work.measured_forecaster()
    plan = search(work.scenario, forecaster, {})
    with open_engines(work.scenario) as opened, tempfile.TemporaryDirectory() as folder:
        reference = reference_of(opened, forecaster.pipeline, forecaster.latency)
        log = ItemLog(LineLog(Path(folder) / "runs.jsonl", ["parts"]), "parts", PlayedRun)
        effort = TuningEffort(rounds=1, tolerance=0.0, requests=requests)
        tuner = Tuner(
            work.scenario,
            DEMO.parent,
            opened,
            forecaster,
            "",
            lambda _: plan,
            reference,
            log,
            effort,
        )
        tuned = tuner.run()
    model, compared = Model(forecaster), list(compare_runs(forecaster, log.items()))
    tuning = tuned.latency.tuning
    assert tuning
    print(f"pace {tuning.pace:.2f}; {next(iter(tuning.corrections.values()))}")
    _print(model, compared, model.values(tuning.corrections))


def _print(model: Model, compared: list[Compared], values: np.ndarray) -> None:
    columns = [model.parts(compared, model.start), model.parts(compared, values)]
    rows: dict[str, list[list[float]]] = defaultdict(list)
    for one in compared:
        for part, seconds in one.measured.items():
            if all(part in column for column in columns):
                _, _, agent, which, what = part
                name = f"{agent}, {which} calls, {what}"
                rows[name].append([1e3 * seconds, *(1e3 * column[part] for column in columns)])
    print(f"{'mean over schedules, ms':40} measured untuned corrected")
    for name, cells in rows.items():
        print(f"{name:40} {' '.join(f'{mean:8.3f}' for mean in np.mean(cells, axis=0))}")


if __name__ == "__main__":
    main()
