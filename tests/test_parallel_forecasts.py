"""Several workers find what one does."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from planner.results.plans import load_plan, save_plan
from planner.search.parallel_forecasts import LEAST_SKETCHED, RayBackend, backend_of, effort
from planner.search.search import search
from planner.search.space import Space
from planner.workspace import Workspace
from simulator.forecast import Forecast
from simulator.forecaster import ScheduleForecaster
from staircase import Schedule, constant, explicit, geometric, moa, normal, uniform
from staircase.errors import EngineError, PlanError, ScheduleError
from staircase.pipeline import Pipeline

ROOT = Path(__file__).parents[1]
# They look for the rest of Ray only now and then, and end within two minutes.
AGENTS = {"ray::DashboardA", "ray::RuntimeEnv"}
SCENARIO = "examples/two_layers.yaml"

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    opened = Workspace.open(ROOT / SCENARIO, tmp_path_factory.mktemp("backend"))
    return opened.with_plan({"trials": 50}).with_requests(6)


@dataclass(frozen=True)
class Moody:
    """Fails at one schedule, or kills its process there, once for each file of a folder."""

    forecaster: ScheduleForecaster
    refused: Schedule
    lives: Path | None = None

    @property
    def pipeline(self) -> Pipeline:
        return self.forecaster.pipeline

    @property
    def knows_quality(self) -> bool:
        return False

    def __call__(self, schedule: Schedule) -> Forecast:
        if schedule == self.refused:
            if self.lives is None:
                raise ScheduleError("not this one")
            for life in self.lives.iterdir():
                life.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        return self.forecaster(schedule)


def first_schedules(work: Workspace) -> list[Schedule]:
    pipeline = work.forecaster().pipeline
    return [uniform(pipeline, constant(first, 16, 16)) for first in (4, 8, 16, 32)]


@pytest.mark.slow
def test_two_workers_find_what_one_does(work: Workspace) -> None:
    forecaster = work.forecaster()
    alone = search(work.scenario, forecaster, {}, held_out=work.held_out())
    with backend_of(forecaster, workers=2) as backend:
        together = search(work.scenario, forecaster, {}, backend=backend, held_out=work.held_out())
    assert alone.held_out
    assert [one.schedule for one in together.candidates] == [
        one.schedule for one in alone.candidates
    ]
    paths = work.folder / "alone.json", work.folder / "together.json"
    for path, plan in zip(paths, (alone, together), strict=True):
        save_plan(path, replace(plan, provenance=alone.provenance))
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.slow
def test_two_workers_draw_the_sketch_that_one_does(work: Workspace) -> None:
    forecaster = work.forecaster()
    sketch, space = forecaster.sketch(), Space(forecaster.pipeline, work.scenario.plan)
    assert sketch
    schedules = [space.schedule(point) for point in space.sample(3 * LEAST_SKETCHED + 1, 0)]
    alone = sketch.of(schedules)
    with backend_of(forecaster, workers=2) as backend:
        for some in (schedules, schedules[:2]):
            together = backend.sharing(sketch).of(some)
            assert together.keys() == alone.keys()
            for name, column in together.items():
                assert column.tolist() == alone[name][: len(some)].tolist()


@pytest.mark.slow
def test_errors_of_a_worker_are_its_own(work: Workspace) -> None:
    schedules = first_schedules(work)
    with backend_of(Moody(work.forecaster(), schedules[2]), workers=2) as backend:
        made = backend.forecast(schedules)
        assert [next(made).schedule for _ in range(2)] == schedules[:2]
        with pytest.raises(ScheduleError, match=r"^not this one$"):
            next(made)


@pytest.mark.slow
def test_workers_of_another_version_are_told(work: Workspace) -> None:
    with backend_of(work.forecaster(), workers=2) as backend:
        assert isinstance(backend, RayBackend)
        made = replace(backend, code="another").forecast(first_schedules(work))
        with pytest.raises(PlanError, match="install the same version there"):
            next(made)


@pytest.mark.slow
def test_a_cluster_is_joined_and_left_as_it_was(work: Workspace) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray = str(Path(sys.executable).parent / "ray")
    begin = [ray, "start", "--head", "--block", "--num-cpus=2"]
    options = [f"--port={port}", "--include-dashboard=false", "--object-store-memory=80000000"]
    quiet = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
    cluster = subprocess.Popen([*begin, *options], cwd="/", env=quiet, start_new_session=True)
    try:
        _wait_for(port, cluster)
        for _ in range(2):
            with backend_of(work.forecaster(), address=f"127.0.0.1:{port}") as backend:
                made = backend.forecast(first_schedules(work))
                assert [one.schedule for one in made] == first_schedules(work)
        assert cluster.poll() is None
    finally:
        os.killpg(cluster.pid, signal.SIGTERM)
        cluster.wait()


def _wait_for(port: int, cluster: subprocess.Popen[bytes]) -> None:
    while cluster.poll() is None:
        with suppress(OSError):
            return socket.create_connection(("127.0.0.1", port)).close()
        time.sleep(0.1)
    raise AssertionError("Ray did not start")


@pytest.mark.slow
@pytest.mark.parametrize("deaths", [1, 10])
def test_a_worker_that_dies(work: Workspace, tmp_path: Path, deaths: int) -> None:
    """Once: nobody notices. Of every try: one clear line, and what came before is there."""
    for life in range(deaths):
        (tmp_path / str(life)).touch()
    schedules = first_schedules(work)
    with backend_of(Moody(work.forecaster(), schedules[2], tmp_path), workers=2) as backend:
        made = backend.forecast(schedules)
        found = [next(made).schedule for _ in range(2)]
        if deaths == 1:
            found += [one.schedule for one in made]
            assert found == schedules
        else:
            assert found == schedules[:2]
            with pytest.raises(EngineError, match=r"^a worker of the search died[^\n]*$"):
                next(made)


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_behind(tmp_path: Path, sent: signal.Signals) -> None:
    """And what was forecast until then is not lost."""
    running = plan(tmp_path, "--workers", "2")
    journal = tmp_path / "trials.journal"
    while running.poll() is None and not (
        journal.is_file() and journal.read_text().count("candidate") > 3
    ):
        time.sleep(0.05)
    session = running.pid
    assert len(members(session)) > 4
    # As a terminal does it: to all of them.
    os.killpg(session, sent) if sent == signal.SIGINT else running.kill()
    _, said = running.communicate(timeout=60)
    assert running.returncode == (130 if sent == signal.SIGINT else -9)
    if sent == signal.SIGINT:
        assert said.strip().splitlines()[-1] == "interrupted"
        assert "Traceback" not in said
    patience = time.monotonic() + 30
    while left := members(session) - (AGENTS if sent == signal.SIGKILL else set()):
        assert time.monotonic() < patience, left
        time.sleep(0.2)
    again = plan(tmp_path, "--workers", "2")
    _, said = again.communicate(timeout=200)
    assert "going on with" in said
    assert len(load_plan(tmp_path / "plan.json").candidates) == 30


def plan(folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "planner.cli.app", "plan", SCENARIO, "--trials", "30"]
    return subprocess.Popen(
        [*command, "--out", str(folder), *options],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )


def members(session: int) -> set[str]:
    """Names of a session's processes that still run."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            names, _, rest = stat.read_text().rpartition(")")
            state, _, _, of = rest.split()[:4]
            if int(of) == session and state != "Z":
                found.add(names.partition("(")[2])
    return found


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nonsense"])
def test_no_cluster_is_told_in_a_line(work: Workspace, address: str) -> None:
    with (
        pytest.raises(PlanError, match=rf"^--ray {address}: no Ray cluster there [^\n]*$"),
        backend_of(work.forecaster(), address=address),
    ):
        pass


def test_without_ray_it_says_what_to_install(
    work: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(PlanError, match=r'pip install "staircase\[cluster\]"'),
        backend_of(work.forecaster(), workers=2),
    ):
        pass


def test_one_worker_needs_no_ray(work: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with backend_of(work.forecaster()) as backend:
        assert [one.schedule for one in backend.forecast(first_schedules(work))] == first_schedules(
            work
        )


def test_long_schedules_take_more_effort_than_short_ones() -> None:
    pipeline = moa([["a", "b"]], "z")
    rising = [normal(), constant(400, 200, 300), geometric(8, 2.0, 64, 32), constant(8, 16, 8)]
    efforts = [effort(uniform(pipeline, staircase)) for staircase in rising]
    assert efforts == sorted(set(efforts))
    assert efforts[:2] == [1, 2]
    assert effort(uniform(pipeline, explicit([(1, 100)] * 600))) == 5
