"""Bundles of kernel times: what they must hold, experts, and what devices tell each other."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from profiles.hardware.collectives import ring_all_reduce_s
from profiles.hardware.known_models import SHAPES
from profiles.hardware.model_shape import ModelShape, plain_shape
from profiles.importers.deployment import Deployment, Link
from profiles.importers.importing import Picks, import_profile
from profiles.importers.kernels import ALWAYS, FEED_FORWARD, HEAD, KernelTables, read_kernel_tables
from profiles.importers.whole_iterations import iteration_s
from profiles.latency.profile import LatencyProfile
from simulator.core.cost import (
    at,
    attention_ps,
    cost_of_kernels,
    mixed_attention_ps,
    prefilling_ps,
)
from simulator.des.batching import BatchingSetup
from simulator.setups import setup_of
from staircase.errors import ProfileError, ScenarioError
from staircase.spec.simulated_spec import SimulatedSpec
from tests.support.bundles import write_bundle

DATA = Path(__file__).parents[2] / "shared" / "data" / "llmservingsim" / "profiler" / "perf"
EXPERTS = DATA / "RTXPRO6000" / "Qwen" / "Qwen3-30B-A3B-Instruct-2507" / "bf16" / "tp1"
NEEDS_DATA = pytest.mark.skipif(not EXPERTS.is_dir(), reason="public measurements are not beside")

DENSE = Deployment(4)
LINK = Link(1e9, 5e-6)
# Four layers of hidden size 8; a token takes two of eight experts.
MIXTURE = plain_shape(8, 4, 2, 2, 4, 16, 32, experts=8, experts_per_token=2)
PLAIN = plain_shape(8, 4, 2, 2, 4, 16, 32)


def bundle(folder: Path) -> Path:
    """Dense kernels of 10 + n µs, heads of n µs, attention of c + k/10 + n + d/100 µs."""
    return write_bundle(
        folder, lambda n: 10 + n, lambda n: n, lambda c, k, n, d: c + k / 10 + n + d / 100
    )


def mixture(folder: Path) -> Path:
    """The same with experts of tokens + 100 µs each instead of the feed-forward block."""
    return write_bundle(
        folder,
        lambda n: 10 + n,
        lambda n: n,
        lambda c, k, n, d: c + k / 10 + n + d / 100,
        lambda n, active: n + 100 * active,
    )


def iteration_us(tables: KernelTables, tokens: int) -> float:
    """Of what depends on tokens alone."""
    return float(np.interp(tokens, tables.tokens, tables.tokens_s)) * 1e6


class TestDense:
    def test_kernels_sum_up_to_iterations(self, tmp_path: Path) -> None:
        tables = read_kernel_tables(bundle(tmp_path), DENSE)
        cost = cost_of_kernels(tables, max_tokens=64, max_sequences=16)
        one = at(cost.decode_ps, 1) + attention_ps(cost, 1, 64)
        # Two kernels once, seven by layer of which one twice; two of the head; attention by layer.
        assert one == pytest.approx((2 * 11 + 4 * 8 * 11 + 2 + 4 * 1.64) * 1e6, rel=1e-6)
        mixed = mixed_attention_ps(cost, 16, 16 * 16, 4, 4 * 64)
        assert mixed == pytest.approx(4 * (16 + 4 + 0.64) * 1e6, rel=1e-6)

    def test_whole_iterations_take_what_the_simulator_makes_of_their_kernels(
        self, tmp_path: Path
    ) -> None:
        tables = read_kernel_tables(bundle(tmp_path), DENSE)
        cost = cost_of_kernels(tables, max_tokens=64, max_sequences=16)
        compared = 0
        for place in product(*(axis.astype(int).tolist() for axis in tables.axes)):
            chunk, before, decoding, context = place
            if not chunk or chunk + decoding > tables.tokens[-1] or (context and not decoding):
                continue
            work = chunk * (2 * before + chunk)
            took = prefilling_ps(cost, 1, chunk, work, decoding, decoding * context)
            assert took == pytest.approx(iteration_s(tables, place) * 1e12, abs=3)
            compared += decoding > 0
        assert compared > 10

    @pytest.mark.parametrize("kernel", [*ALWAYS, *FEED_FORWARD, *HEAD])
    def test_a_kernel_that_is_missing_is_named(self, tmp_path: Path, kernel: str) -> None:
        path = bundle(tmp_path) / ("per_sequence.csv" if kernel in HEAD else "dense.csv")
        lines = path.read_text().splitlines()
        path.write_text("\n".join(line for line in lines if not line.startswith(f"{kernel},")))
        with pytest.raises(ProfileError, match=f"{path.name}: no row of layer '{kernel}', which"):
            read_kernel_tables(tmp_path, DENSE)

    @pytest.mark.parametrize(
        ("file", "said"),
        [
            ("dense", "layer is 'indexer', must be one of embedding, "),
            ("per_sequence", "layer is 'indexer', must be one of lm_head, sampler"),
        ],
    )
    def test_a_kernel_that_is_not_known_is_told(self, tmp_path: Path, file: str, said: str) -> None:
        path = bundle(tmp_path) / f"{file}.csv"
        path.write_text(path.read_text() + "indexer,1,5\n")
        with pytest.raises(ProfileError, match=f"{file}.csv, line .*: {said}"):
            read_kernel_tables(tmp_path, DENSE)

    def test_a_missing_column_is_told(self, tmp_path: Path) -> None:
        (bundle(tmp_path) / "dense.csv").write_text("layer,time_us\nqkv_proj,1\n")
        with pytest.raises(ProfileError, match=r"dense.csv, line 1: no column 'tokens'"):
            read_kernel_tables(tmp_path, DENSE)

    def test_a_missing_file_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(ProfileError, match=r"dense.csv: no such file"):
            read_kernel_tables(tmp_path, DENSE)

    def test_query_norms_count_where_they_are_measured(self, tmp_path: Path) -> None:
        plain = iteration_us(read_kernel_tables(bundle(tmp_path), DENSE), 1)
        path = tmp_path / "dense.csv"
        path.write_text(path.read_text() + "".join(f"qk_norm,{n},3\n" for n in (1, 4, 16, 64)))
        assert iteration_us(read_kernel_tables(tmp_path, DENSE), 1) == pytest.approx(plain + 4 * 3)


class TestMeta:
    def write(self, folder: Path, text: str) -> Path:
        (folder / "meta.yaml").write_text(text)
        return bundle(folder / "tp1")

    def test_another_model_is_told(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, "model: meta-llama/Llama-3.1-8B\n")
        with pytest.raises(ProfileError, match=r"holds kernels of meta-llama/Llama-3.1-8B: 32 la"):
            read_kernel_tables(path, DENSE)
        with pytest.raises(ProfileError, match="another model"):
            read_kernel_tables(path, Deployment.of(SHAPES["Qwen3-8B"]))
        assert read_kernel_tables(path, Deployment(32)).tokens_s[0] > 0
        assert read_kernel_tables(path, Deployment.of(SHAPES["Llama-3.1-8B"])).tokens_s[0] > 0

    def test_an_architecture_with_query_norms_needs_them(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, "architecture: qwen3\n")
        with pytest.raises(ProfileError, match="no row of layer 'qk_norm'"):
            read_kernel_tables(path, DENSE)

    @pytest.mark.parametrize("text", ["- a list\n", "a: [\n", "a: 2001-99-99\n"])
    def test_what_is_no_mapping_is_told(self, tmp_path: Path, text: str) -> None:
        path = self.write(tmp_path, text)
        with pytest.raises(ProfileError, match=r"meta\.yaml: .*it should be the meta.yaml of"):
            read_kernel_tables(path, DENSE)


class TestTensorParallel:
    def test_two_all_reduces_a_layer(self, tmp_path: Path) -> None:
        alone = read_kernel_tables(bundle(tmp_path / "tp1"), Deployment.of(PLAIN))
        both = read_kernel_tables(bundle(tmp_path / "tp2"), Deployment.of(PLAIN, LINK))
        # Two steps, each with half of 16 tokens' hidden states of 16 bytes.
        more_us = 4 * 2 * 2 * (5 + 16 * 8 * 2 / 2 / 1e3)
        assert iteration_us(both, 16) - iteration_us(alone, 16) == pytest.approx(more_us)

    @pytest.mark.parametrize(
        ("deployment", "said"),
        [
            (Deployment(4, link=LINK), "give model, link_gb_per_s and link_latency_s"),
            (Deployment.of(PLAIN), "give model, link_gb_per_s and link_latency_s"),
            (Deployment(4, PLAIN, 1, link=LINK), "is of tensor_parallel 2, not 1"),
        ],
    )
    def test_what_is_needed_is_told(
        self, tmp_path: Path, deployment: Deployment, said: str
    ) -> None:
        with pytest.raises(ProfileError, match=f"tp2: .*{said}"):
            read_kernel_tables(bundle(tmp_path / "tp2"), deployment)

    def test_devices_are_given_where_the_folder_does_not_say_them(self, tmp_path: Path) -> None:
        two = Deployment(4, PLAIN, 2, link=LINK)
        named = read_kernel_tables(bundle(tmp_path / "tp2"), replace(two, tensor_parallel=None))
        given = read_kernel_tables(bundle(tmp_path / "mine"), two)
        assert given.tokens_s.tolist() == named.tokens_s.tolist()


class TestExperts:
    def test_count_as_many_as_an_even_choice_activates(self, tmp_path: Path) -> None:
        tables = read_kernel_tables(mixture(tmp_path), Deployment.of(MIXTURE))
        for tokens in (1, 4, 16, 64):
            active = 8 * (1 - 0.75**tokens)
            dense = (2 + 4 * 5) * (10 + tokens)
            assert iteration_us(tables, tokens) == pytest.approx(
                dense + 4 * (tokens + 100 * active)
            )

    def test_data_parallel_ranks_read_them_together(self, tmp_path: Path) -> None:
        """16 tokens are 8 on each rank, which holds half of the experts of all 16."""
        two = Deployment(4, MIXTURE, 1, 2, True, LINK)
        tables = read_kernel_tables(mixture(tmp_path), two)
        cost = cost_of_kernels(tables, max_tokens=128, max_sequences=32)
        experts = 4 * (8 + 100 * 8 * (1 - 0.75**16) / 2)
        moved_us = 4 * 2 * (5 + 16 * 8 * 2 / 2 / 1e3)
        once = (2 + 4 * 5) * (10 + 8) + 2 * 8
        assert at(cost.decode_ps, 16) == pytest.approx((once + experts + moved_us) * 1e6, rel=0.02)
        # Of eight sequences each.
        assert attention_ps(cost, 16, 16 * 64) == pytest.approx(4 * 8.64 * 1e6, rel=1e-6)

    @pytest.mark.parametrize(
        ("deployment", "said"),
        [
            (DENSE, "holds moe.csv, so give model"),
            (Deployment.of(PLAIN), "holds moe.csv, so give model"),
            (Deployment(4, MIXTURE, 1, 2, False, LINK), "data_parallel without expert_parallel"),
            (Deployment(4, MIXTURE, 1, 1, True), "expert_parallel needs several devices"),
            (Deployment(4, PLAIN, 1, 2, True, LINK), "data_parallel needs a model with experts"),
            (Deployment(4, MIXTURE, 2, 2, True, LINK), "beside tensor parallelism is not model"),
            (Deployment(4, MIXTURE, 1, 2, True), "give model, link_gb_per_s and link_latency_s"),
        ],
    )
    def test_what_is_not_modelled_is_told(
        self, tmp_path: Path, deployment: Deployment, said: str
    ) -> None:
        with pytest.raises(ProfileError, match=said) as error:
            read_kernel_tables(mixture(tmp_path), deployment)
        assert "\n" not in str(error.value)

    def test_slices_of_experts_are_not_measured(self, tmp_path: Path) -> None:
        mixture(tmp_path / "tp1")
        (mixture(tmp_path / "tp2") / "moe.csv").unlink()
        two = Deployment.of(MIXTURE, LINK)
        with pytest.raises(ProfileError, match=r"tp2/moe.csv: no such file.*expert_parallel: true"):
            read_kernel_tables(tmp_path / "tp2", two)
        spread = read_kernel_tables(tmp_path / "tp2", replace(two, is_expert_parallel=True))
        experts = 4 * (8 + 100 * 8 * (1 - 0.75**16) / 2)
        moved_us = 4 * 2 * 2 * (5 + 16 * 8 * 2 / 2 / 1e3)
        dense = (2 + 4 * 5) * (10 + 16)
        assert iteration_us(spread, 16) == pytest.approx(dense + experts + moved_us, rel=0.02)

    def test_their_table_is_needed(self, tmp_path: Path) -> None:
        (mixture(tmp_path) / "moe.csv").unlink()
        with pytest.raises(ProfileError, match=r"moe.csv: no such file, and the model has experts"):
            read_kernel_tables(tmp_path, Deployment.of(MIXTURE))

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("1,16,5", "activated_experts is 16, must be at most the model's 8"),
            ("1,2,5", "activated_experts is 2, must be one that 1 tokens do not have"),
            ("0,2,5", "tokens is 0, must be"),
            ("1,3,0", "time_us is 0, must be more than 0"),
        ],
    )
    def test_what_is_wrong_is_told(self, tmp_path: Path, line: str, said: str) -> None:
        path = mixture(tmp_path) / "moe.csv"
        path.write_text(path.read_text() + f"{line}\n")
        with pytest.raises(ProfileError, match=f"moe.csv, line .*: {said}"):
            read_kernel_tables(tmp_path, Deployment.of(MIXTURE))


class TestScenario:
    def engine(self, folder: Path, **keys: object) -> SimulatedSpec:
        spec = {"kind": "simulated", "kernels": str(folder), "max_num_batched_tokens": 64}
        return SimulatedSpec.model_validate({**spec, "max_num_seqs": 16, **keys})

    def test_limits_are_of_each_rank(self, tmp_path: Path) -> None:
        shape = tmp_path / "config.json"
        shape.write_text(
            '{"model_type": "mixtral", "hidden_size": 8, "intermediate_size": 16, '
            '"num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 2, '
            '"vocab_size": 32, "num_local_experts": 8, "num_experts_per_tok": 2}'
        )
        keys = {"model": str(shape), "link_gb_per_s": 1, "link_latency_s": 5e-6, "kv_blocks": 9}
        spec = self.engine(mixture(tmp_path / "tp1"), **keys, data_parallel=2, expert_parallel=True)
        setup = setup_of(spec, "model")
        assert isinstance(setup, BatchingSetup)
        assert setup.limits.max_num_batched_tokens == 128
        assert (setup.limits.max_num_seqs, setup.limits.blocks) == (32, 18)
        # One prompt is read by one rank.
        assert setup.limits.max_chunk == 64
        two = Deployment(4, MIXTURE, 1, 2, True, LINK)
        cost = cost_of_kernels(read_kernel_tables(tmp_path / "tp1", two), 128, 32)
        assert setup.cost.decode_ps.tolist() == cost.decode_ps.tolist()

    def test_an_unknown_model_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(ScenarioError, match=r"engines.x: model 'Llama-9' is neither"):
            setup_of(self.engine(bundle(tmp_path), model="Llama-9"), "x")

    def test_layers_or_a_model(self, tmp_path: Path) -> None:
        for keys in ({}, {"layers": 4, "model": "Llama-3.1-8B"}, {"layers": 4, "data_parallel": 2}):
            with pytest.raises(ValueError, match="kernels and layers"):
                self.engine(tmp_path, **keys)


def test_a_ring_moves_each_part_twice() -> None:
    assert ring_all_reduce_s(1, 1e9, 1e9, 1.0) == 0.0
    assert ring_all_reduce_s(4, 8e9, 1e9, 0.5) == pytest.approx(6 * (0.5 + 2.0))


@NEEDS_DATA
def test_a_decode_of_measured_experts() -> None:
    """16 sequences take what the tables hold for them, added up by hand."""
    shape: ModelShape = SHAPES["Qwen3-30B-A3B"]
    tables = read_kernel_tables(EXPERTS, Deployment.of(shape))
    cost = cost_of_kernels(tables, max_tokens=2048, max_sequences=128)
    found_us = (at(cost.decode_ps, 16) + attention_ps(cost, 16, 16 * 1024)) / 1e6
    dense = _times(EXPERTS / "dense.csv")
    once = dense["embedding", "16"] + dense["final_layernorm", "16"]
    layer = sum(us for (name, n), us in dense.items() if n == "16") - once
    layer += dense["layernorm", "16"]
    heads = _times(EXPERTS / "per_sequence.csv")
    once += heads["lm_head", "16"] + heads["sampler", "16"]
    # An even choice activates 82 of 128 experts; 64 and 128 were measured.
    experts = _times(EXPERTS / "moe.csv")
    share = (128 * (1 - (1 - 8 / 128) ** 16) - 64) / 64
    layer += experts["16", "64"] + share * (experts["16", "128"] - experts["16", "64"])
    layer += _times(EXPERTS / "attention.csv")["0", "0", "16", "1024"]
    assert found_us == pytest.approx(once + 48 * layer, rel=1e-3)

    picks = Picks(model="Qwen/Qwen3-30B-A3B-Instruct-2507")
    imported = import_profile("llmservingsim", EXPERTS, picks)
    assert isinstance(imported, LatencyProfile)
    (engine,) = imported.engines.values()
    assert engine.decode_s(16, 16 * 1024) * 1e6 == pytest.approx(once + 48 * layer, rel=0.05)


@NEEDS_DATA
def test_experts_on_two_devices_without_their_own_table_are_refused() -> None:
    two = Deployment.of(SHAPES["Qwen3-30B-A3B"], LINK)
    with pytest.raises(ProfileError, match=r"tp2/moe.csv: no such file"):
        read_kernel_tables(EXPERTS.parent / "tp2", two)


def _times(path: Path) -> dict[tuple[str, ...], float]:
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    return {tuple(row[:-1]): float(row[-1]) for row in rows}
