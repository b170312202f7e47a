"""What an iteration would cost on hardware that one does not have: a roofline.

The kernels of an iteration run one after another, and each group takes what its computing or what
its reading takes, whichever is longer:

    matrices    max(FLOPs / (n·e_c·F), weight bytes / (n·e_m·B))   of all layers, by tokens
    head        the same for the logits, by sequences
    states      2 · bytes / (n·e_m·B)                              of recurrent layers, by sequences
    attention   max(FLOPs / (n·e_a·F), KV bytes / (n·e_m·B))       by kind of layer, of each chunk
                                                                   and of all that decode
    fixed       layers · kernels · t_k
    all-reduce  2 · layers · (t_r + 2(n - 1)·t_h + 2(n - 1)/n · tokens·hidden·2 bytes / (e_l·L))

with n devices in tensor parallel, F, B and L their datasheets' peak, memory and link, and the
efficiencies e and times t below. What the engine computes on its host is not in it.
Source of the model: Williams et al., Roofline, CACM 52(4), 2009; of the ring: NCCL's cost model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from profiles.hardware.collectives import ring_all_reduce_s
from profiles.hardware.gpus import Hardware
from profiles.hardware.model_shape import BYTES, Attention, ModelShape
from staircase.errors import ProfileError

# vLLM's default share of the device's memory for weights and KV blocks.
MEMORY_UTILISATION = 0.9
# Standard deviation of the logarithm of what it may be off by, as ``benchmarks/roofline.py`` sees
# over all tables with ``--host none`` (decode 0.19, prefill 0.33). Beside a real engine it is
# mostly too fast.
SPREAD = 0.35


@dataclass(frozen=True)
class Efficiency:
    """Fractions of datasheet peaks that kernels reach, and times that no datasheet gives.

    None is fitted. They are round numbers near public figures, which are quoted from memory.

    Attributes:
        matrices: cuBLAS at its best reaches 0.8 (H100) to 0.87 (A100) of the peak in 16 bits
            (Bekman, ML Engineering, MAMF); a whole layer less.
        attention: FlashAttention-2's paper has 0.5 to 0.73 on an A100.
        memory: plain copies reach about 0.9; matrix-vector products less.
        link: NCCL's bus bandwidth beside NVLink's.
        kernels_per_layer, kernel_s: four products, rotation, cache, attention and activation,
            beside the norms of the model, and about 2 µs to begin and end each in a CUDA graph:
            an assumption.
        all_reduce_s, hop_s: NCCL's tuning constants of a ring over NVLink with the LL protocol.
    """

    matrices: float = 0.7
    attention: float = 0.5
    memory: float = 0.8
    link: float = 0.8
    kernels_per_layer: int = 8
    kernel_s: float = 2e-6
    all_reduce_s: float = 6.6e-6
    hop_s: float = 0.6e-6


@dataclass(frozen=True)
class PrefillChunk:
    """A piece of a prompt: ``new`` tokens after ``before`` others."""

    new: int
    before: int


@dataclass(frozen=True)
class Roofline:
    """A model on ``tensor_parallel`` devices; ``spread`` as ``SPREAD``."""

    shape: ModelShape
    hardware: Hardware
    tensor_parallel: int = 1
    efficiency: Efficiency = Efficiency()
    spread: float = SPREAD

    def iteration_s(
        self, chunks: Sequence[PrefillChunk], decoding: int, context_tokens: int
    ) -> float:
        """Chunks of prompts, and a token for each of ``decoding`` sequences with this in all."""
        tokens = decoding + sum(chunk.new for chunk in chunks)
        return (
            self.tokens_s(tokens)
            + self.sequences_s(len(chunks) + decoding)
            + sum(self.chunk_attention_s(chunk.new, chunk.before) for chunk in chunks)
            + self.decode_attention_s(decoding, context_tokens)
        )

    def tokens_s(self, tokens: int) -> float:
        """All that depends on the tokens of an iteration only, and what it costs in any case."""
        shape, share = self.shape, self.efficiency.matrices
        matrices = self._longer_s(
            tokens * shape.layer_flops_per_token, share, shape.layer_bytes(tokens)
        )
        kernels = shape.layers * (self.efficiency.kernels_per_layer + shape.norms)
        fixed = kernels * self.efficiency.kernel_s
        return matrices + fixed + 2 * shape.layers * self.all_reduce_s(tokens)

    def sequences_s(self, sequences: int) -> float:
        """The logits of ``sequences`` tokens, and what recurrent layers read and write again."""
        if not sequences:
            return 0.0
        flops, read = sequences * self.shape.head_flops, self.shape.head.bytes
        states = self._longer_s(0.0, 1.0, 2 * sequences * self.shape.state_bytes)
        return self._longer_s(flops, self.efficiency.matrices, read) + states

    def chunk_attention_s(self, new: int, before: int) -> float:
        """Each new token attends to those before the chunk, to itself and those before it."""
        return sum(self._chunk_s(attention, new, before) for attention in self.shape.attention)

    def _chunk_s(self, attention: Attention, new: int, before: int) -> float:
        flops = attention.layers * attention.pairs(new, before) * attention.prefill_flops
        seen = new + (before if attention.window is None else min(before, attention.window))
        read = seen * self._kv_bytes(attention) if new else 0.0
        return self._longer_s(flops, self.efficiency.attention, read)

    def decode_attention_s(self, sequences: int, context_tokens: float) -> float:
        """Of sequences equally long, with so many tokens in all: linear between the windows."""
        return sum(
            self._decode_s(attention, attention.reached(sequences, context_tokens))
            for attention in self.shape.attention
        )

    def _decode_s(self, attention: Attention, tokens: float) -> float:
        flops = attention.layers * tokens * attention.decode_flops
        read = tokens * self._kv_bytes(attention)
        return self._longer_s(flops, self.efficiency.attention, read)

    def all_reduce_s(self, tokens: int) -> float:
        """One ring all-reduce of the hidden states."""
        devices, efficiency = self.tensor_parallel, self.efficiency
        if devices == 1:
            return 0.0
        message = tokens * self.shape.hidden * BYTES
        link = efficiency.link * self.hardware.link_bytes_per_s
        ring_s = ring_all_reduce_s(devices, message, link, efficiency.hop_s)
        return efficiency.all_reduce_s + ring_s

    def kv_blocks(self, block_tokens: int) -> int:
        """Blocks that fit beside the weights, as if no window ended and no state was kept.

        Raises:
            ProfileError: not one does; says how many devices' memory the weights need.
        """
        devices, memory = self.tensor_parallel, MEMORY_UTILISATION * self.hardware.memory_bytes
        left = memory * devices - self.shape.weight_bytes
        token_bytes = sum(map(self._kv_bytes, self.shape.attention))
        blocks = int(left // (token_bytes * block_tokens))
        if blocks < 1:
            raise ProfileError(
                f"{self.shape.weight_bytes / 1e9:.1f} GB of weights leave no room for KV blocks in "
                f"{memory / 1e9:.1f} GB on each of {devices} x {self.hardware.name}; "
                "give a larger tensor_parallel or other hardware"
            )
        return blocks

    def _kv_bytes(self, attention: Attention) -> float:
        """Of a token, in all its layers and on all devices."""
        return attention.layers * attention.kv_bytes * self._copies(attention)

    def _copies(self, attention: Attention) -> float:
        """Where there are more devices than heads, some hold the same head."""
        return max(1.0, self.tensor_parallel / attention.kv_heads)

    def _longer_s(self, flops: float, share: float, read: float) -> float:
        compute_s = flops / (share * self.hardware.peak_flops)
        memory_s = read / (self.efficiency.memory * self.hardware.memory_bytes_per_s)
        return max(compute_s, memory_s) / self.tensor_parallel
