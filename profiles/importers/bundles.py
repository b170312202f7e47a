"""A folder of kernel tables in a format of others, told apart by its files."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from profiles.importers.deployment import Deployment
from profiles.importers.kernels import KernelTables, read_kernel_tables
from profiles.importers.vidur import read_vidur
from staircase.errors import ProfileError


@cache
def read_bundle(folder: Path, deployment: Deployment) -> KernelTables:
    """Vidur's where there is an ``mlp.csv``, LLMServingSim's otherwise; read once.

    Raises:
        ProfileError: a file is missing or wrong, or of something else than ``deployment``.
    """
    if (folder / "mlp.csv").exists():
        return read_vidur(folder, deployment)
    return read_kernel_tables(folder, deployment)


def check_range(folder: Path, tables: KernelTables, tokens: int, sequences: int) -> None:
    """Raises ProfileError if iterations may exceed what the tables hold."""
    for what, wanted, most in (
        ("max_num_batched_tokens", tokens, int(tables.tokens[-1])),
        ("max_num_seqs", sequences, int(tables.axes[2][-1])),
    ):
        if wanted > most:
            raise ProfileError(f"{folder}: goes up to {what} {most}, the engine has {wanted}")
