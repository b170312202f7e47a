"""The catalogue, the commands that show it, and scenarios that name its profiles."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.catalog import public
from planner.cli.app import app
from planner.profiling.profile_words import seconds_words
from profiles.catalog import FOLDER, find, load_engine, names
from profiles.latency.endpoint import EndpointProfile, save_endpoint
from profiles.latency.profile import (
    DecodePoint,
    EngineProfile,
    LatencyProfile,
    PrefillPoint,
    ProfileRange,
    fit_engine,
    load_latency,
    save_latency,
)
from profiles.store import provenance_of_now, stored_hash
from simulator.extrapolation import most_at_once
from simulator.forecast import forecast_simulated
from staircase import Schedule
from staircase.errors import InputError, ProfileError, ScenarioError
from staircase.spec.scenario import Scenario, load_scenario
from staircase.timeline import Span
from tests.support.report_charts import loaded, specs

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
MOST_ERROR = 0.15


def engine() -> EngineProfile:
    """Prefill of 10 ms and 0.1 a token, decode of 20 ms, 1 a sequence and 1 µs a token."""
    return fit_engine(
        [PrefillPoint(n, 0, 0.01 + n * 1e-4, 0.0, 1.0) for n in (1, 8, 64, 256, 512)],
        [
            DecodePoint(b, b * c, 0.02 + b * 1e-3 + b * c * 1e-6, 0.0, 1.0)
            for b in (1, 2, 4)
            for c in (16, 512)
        ],
        0.003,
    )


def save_own(folder: Path) -> Path:
    path = folder / "own.json"
    save_latency(path, LatencyProfile({"e": engine()}, provenance_of_now()))
    return path


def run(*words: str) -> str:
    done = CliRunner().invoke(app, ["profile", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


class TestFiles:
    @pytest.mark.parametrize("name", names())
    def test_says_where_it_is_from_and_how_far_it_goes(self, name: str) -> None:
        profile = load_latency(find(name))
        said = profile.provenance.settings
        assert said["hardware"]
        for one in profile.engines.values():
            assert one.measured_range.new_tokens >= 256
            assert one.prefill_s(256, 0) > 0
            if not name.startswith("measured"):
                assert said["licence"]
                assert said["link"]
                assert not one.prefill_points
                assert not one.decode_points
                assert max(one.prefill.error, one.decode.error) < MOST_ERROR

    def test_names_that_are_none(self) -> None:
        with pytest.raises(ProfileError, match="did you mean 'aiconfigurator-h200'"):
            find("aiconfigurator-h20")
        with pytest.raises(ProfileError, match=r"has several engines, say which: Qwen3-0.6B-tp1"):
            load_engine(find("aiconfigurator-h200"), None)
        with pytest.raises(ProfileError, match=r"has no engine 'GPT'; it has Qwen3-0.6B-tp1"):
            load_engine(find("aiconfigurator-h200"), "GPT")

    def test_a_fit_without_points_says_its_range(self) -> None:
        bare = engine().without_points()
        assert bare.measured_range == engine().measured_range == ProfileRange(512, 4, 512)
        assert bare.outside(600, 600) == ["prefill 600 > 512", "context 600 > 512"]
        with pytest.raises(ProfileError, match="neither points nor stated_reach"):
            _ = EngineProfile((), (), 0.0, bare.prefill, bare.decode).measured_range

    @pytest.mark.slow
    @pytest.mark.skipif(not DATA.is_dir(), reason="public measurements are not beside")
    def test_is_what_the_public_data_give(self) -> None:
        for name, profile in public(DATA):
            kept = load_latency(FOLDER / f"{name}.json").engines
            assert kept.keys() == profile.engines.keys(), name
            for key, one in profile.engines.items():
                assert kept[key].prefill_s(512, 0) == pytest.approx(one.prefill_s(512, 0))
                assert kept[key].decode_s(8, 4096) == pytest.approx(one.decode_s(8, 4096))
                assert kept[key].measured_range == one.measured_range


class TestCommands:
    def test_list(self) -> None:
        shown = run("list")
        assert "aiconfigurator" in shown
        listed = [entry["name"] for entry in json.loads(run("list", "--json"))]
        assert "splitwise-h100-sxm:Llama-2-70B-tp8" in listed

    def test_show(self, tmp_path: Path) -> None:
        path = save_own(tmp_path)
        shown = run("show", str(path))
        words = r"decode: 20.0 ms, 1.0+ ms a sequence and 1.0+ µs a token of context"
        assert re.search(words, shown)
        assert "each call: 3.00 ms" in shown
        assert "measured up to 512 new tokens, 4 sequences, 512 tokens of context" in shown
        assert json.loads(run("show", str(path), "--json"))["hash"] == stored_hash(path)

    def test_compare(self, tmp_path: Path) -> None:
        path = tmp_path / "slow.json"
        slow = LatencyProfile({"e": engine().scaled(2)}, provenance_of_now())
        save_latency(path, slow)
        ratios = json.loads(run("compare", str(path), str(save_own(tmp_path)), "--json"))
        assert set(ratios) == {
            *(f"prefill of {n}" for n in (16, 64, 256)),
            *(f"decode of {b} at context 256" for b in (1, 4)),
        }
        assert list(ratios.values()) == pytest.approx([2.0] * 5)

    def test_plot(self, tmp_path: Path) -> None:
        page = tmp_path / "page.html"
        run(
            "plot", str(save_own(tmp_path)), "splitwise-h100-sxm:BLOOM-176B-tp8", "--out", str(page)
        )
        text = page.read_text()
        charts = specs(text)
        assert list(charts) == ["prefill", "decode"]
        for chart in charts.values():
            assert len({row["engine"] for row in chart["data"]["values"]}) == 2
        assert loaded(text) == ["data:,"]
        with pytest.raises(InputError, match=r"must end in \.html"):
            run("plot", "measured-cpu", "--out", str(tmp_path / "page.gif"))
        assert not (tmp_path / "page.gif").exists()

    def test_what_names_no_command_is_measured(self, tmp_path: Path) -> None:
        with pytest.raises(ScenarioError, match="no such file; it should be a scenario"):
            run(str(tmp_path / "scenario.yaml"))

    @pytest.mark.parametrize(
        ("seconds", "words"), [(0, "0 s"), (2, "2.00 s"), (0.0123, "12.3 ms"), (4e-10, "400 ps")]
    )
    def test_seconds(self, seconds: float, words: str) -> None:
        assert seconds_words(seconds) == words


class TestScenario:
    def load(self, folder: Path, engines: str, query: int = 100, concurrency: int = 1) -> Scenario:
        save_own(folder)
        calls = EndpointProfile(0.2, 0.01, 0.0, 0.0, 0.0, 9, provenance_of_now())
        save_endpoint(folder / "calls.json", calls)
        path = folder / "scenario.yaml"
        path.write_text(
            "name: profiled\npipeline: {single: model}\n"
            f"engines: {{model: {engines}}}\n"
            f"workload: {{requests: 8, query_tokens: {query}, output_tokens: {{model: 11}}, "
            f"concurrency: {concurrency}}}\n"
        )
        return load_scenario(path)

    def test_an_engine_costs_what_its_profile_says(self, tmp_path: Path) -> None:
        scenario = self.load(tmp_path, "{kind: simulated, profile: own.json}")
        found = forecast_simulated(scenario, Schedule(), tmp_path)
        assert found.metrics["ttft_s"].mean == pytest.approx(0.003 + 0.020, rel=1e-6)
        assert found.metrics["tpot_s"].mean == pytest.approx(0.021106, rel=1e-3)
        assert found.extrapolated == ()

    def test_an_engines_host_takes_its_time_as_well(self, tmp_path: Path) -> None:
        scenario = self.load(tmp_path, "{kind: simulated, profile: own.json, overhead_s: 0.002}")
        metrics = forecast_simulated(scenario, Schedule(), tmp_path).metrics
        assert metrics["ttft_s"].mean == pytest.approx(0.003 + 0.022, rel=1e-6)
        assert metrics["tpot_s"].mean == pytest.approx(0.023106, rel=1e-3)

    def test_a_host_by_name_takes_time_for_each_sequence_too(self, tmp_path: Path) -> None:
        engine = "{kind: simulated, profile: own.json, overhead_s: 0.002, host: Sarathi-2024}"
        metrics = forecast_simulated(self.load(tmp_path, engine), Schedule(), tmp_path).metrics
        each_s = 0.00448 + 0.000344
        assert metrics["ttft_s"].mean == pytest.approx(0.003 + 0.022 + each_s, rel=1e-6)
        assert metrics["tpot_s"].mean == pytest.approx(0.023106 + each_s, rel=1e-3)

    def test_a_host_that_nobody_knows_is_told(self, tmp_path: Path) -> None:
        scenario = self.load(tmp_path, "{kind: simulated, profile: own.json, host: Sarathi}")
        with pytest.raises(ScenarioError, match=r"engines\.model: host 'Sarathi' is not known"):
            forecast_simulated(scenario, Schedule(), tmp_path)

    def test_beyond_its_range(self, tmp_path: Path) -> None:
        scenario = self.load(tmp_path, "{kind: simulated, profile: own.json}", 600, 8)
        found = forecast_simulated(scenario, Schedule(), tmp_path)
        assert found.extrapolated == (
            "model: prefill 600 > 512",
            "model: context 611 > 512",
            "model: batch 8 > 4",
        )

    def test_an_endpoint_takes_its_times_from_a_load_test(self, tmp_path: Path) -> None:
        scenario = self.load(tmp_path, "{kind: endpoint, profile: calls.json, itl_s: 0.02}")
        metrics = forecast_simulated(scenario, Schedule(), tmp_path).metrics
        assert metrics["ttft_s"].mean == pytest.approx(0.2)
        assert metrics["tpot_s"].mean == pytest.approx(0.02)

    @pytest.mark.parametrize(
        ("engine", "said"),
        [
            ("{kind: simulated, profile: none.json}", "none.json: no such file"),
            ("{kind: simulated, profile: calls.json}", "its schema is 'staircase.endpoint/1'"),
            ("{kind: simulated, profile: own.json, engine: f}", "has no engine 'f'; it has e"),
            ("{kind: endpoint, profile: own.json}", "its schema is 'staircase.latency/1'"),
        ],
    )
    def test_a_profile_that_is_none(self, tmp_path: Path, engine: str, said: str) -> None:
        with pytest.raises(ProfileError, match=said):
            forecast_simulated(self.load(tmp_path, engine), Schedule(), tmp_path)

    @pytest.mark.parametrize(
        ("engine", "said"),
        [
            ("{kind: simulated, engine: e}", "profile is missing: give profile"),
            (
                "{kind: simulated, profile: own.json, context_s: 3}",
                "must not be given beside profile",
            ),
            ("{kind: endpoint}", "ttft_s is missing: give ttft_s and itl_s, or profile"),
            (
                "{kind: simulated, profile: own.json, transforms: [{kind: faster}]}",
                "model.simulated.transforms.0: .*'speculative', 'multi_token'",
            ),
        ],
    )
    def test_keys(self, tmp_path: Path, engine: str, said: str) -> None:
        with pytest.raises(ScenarioError, match=said):
            self.load(tmp_path, engine)


def test_the_example_names_the_hashes_of_its_profiles() -> None:
    path = ROOT / "examples" / "catalogue.yaml"
    words = ["simulate", str(path), "--requests", "5", "--json"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    found = json.loads(done.stdout)
    assert found["profiles"] == {
        "first": stored_hash(find("aiconfigurator-l40s")),
        "second": stored_hash(find("aiconfigurator-l40s")),
        "last": stored_hash(find("aiconfigurator-h200")),
    }
    assert found["extrapolated"] == []


def test_most_at_once() -> None:
    def span(start: int, end: int) -> Span:
        return Span(0, "a", "e", 0, (), 0, start, start, start, end, 0, 1, 0, 1, "stop")

    assert most_at_once([]) == 0
    assert most_at_once([span(0, 5), span(5, 9), span(6, 8)]) == 2
