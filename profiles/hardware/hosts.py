"""What engines do on their hosts while the device waits: published measurements, by name.

Kernel times and rooflines know nothing of scheduling, of preparing inputs, of handing out what was
sampled and of messages to workers. None of these figures is fitted to what they are judged by
(``benchmarks/roofline.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

from profiles.hardware.naming import known_by


@dataclass(frozen=True)
class Host:
    """Seconds of every iteration, and for each sequence in it.

    Attributes:
        source: who measured it, of what, and how it was read.
    """

    name: str
    iteration_s: float
    sequence_s: float
    source: str

    def seconds(self, sequences: int) -> float:
        return self.iteration_s + self.sequence_s * sequences


HOSTS = {
    host.name: host
    for host in (
        Host("none", 0.0, 0.0, "what no kernel shows is not counted"),
        Host(
            "vLLM-0.19",
            0.96e-3,
            0.0,
            "python -m benchmarks.referee: what a recorded run of Llama-3.1-8B on one "
            "RTX PRO 6000 took beyond its kernels, one constant; CUDA graphs",
        ),
        Host(
            "Sarathi-2024",
            4.48e-3,
            0.344e-3,
            "Vidur, data/profiling/a100/cpu_overheads.csv at 0633efa, Llama-2-70B, tensor parallel "
            "4, batches of 8 to 64: total_time / num_steps - MODEL_EXECUTION_E2E_MEAN, a line "
            "within 6 %; an eager fork of vLLM with workers in Ray",
        ),
    )
}


def host(name: str) -> Host:
    """The host of this name.

    Raises:
        ProfileError: there is none; names the nearest, or all.
    """
    return known_by(name, HOSTS, "host")
