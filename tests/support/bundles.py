"""Bundles of kernel times in LLMServingSim's format, made up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from profiles.importers.kernels import ALWAYS, FEED_FORWARD, HEAD

SIZES = (1, 4, 16, 64)


def write_bundle(
    folder: Path,
    dense_us: Callable[[int], float],
    head_us: Callable[[int], float],
    attention_us: Callable[[int, int, int, int], float],
    experts_us: Callable[[int, int], float] | None = None,
) -> Path:
    """Each dense kernel and each of the head takes so long, attention by its four sizes.

    With ``experts_us``, by tokens and activated experts of up to 8, there is no feed-forward block.
    """
    dense = ALWAYS if experts_us else (*ALWAYS, *FEED_FORWARD)
    chunks = [(n, k, 0, 0) for n in SIZES[1:] for k in (0, 16, 64)]
    decodes = [(0, 0, n, k) for n in SIZES for k in (16, 64)]
    mixed = [(c, k, n, d) for c, k, _, _ in chunks for _, _, n, d in decodes]
    places = [*chunks, *decodes, *mixed]
    folder.mkdir(exist_ok=True)
    _write(
        folder, "dense", "layer,tokens", ((name, n, dense_us(n)) for name in dense for n in SIZES)
    )
    heads = ((name, n, head_us(n)) for name in HEAD for n in SIZES)
    _write(folder, "per_sequence", "layer,sequences", heads)
    columns = "prefill_chunk,kv_prefill,n_decode,kv_decode"
    _write(folder, "attention", columns, ((*place, attention_us(*place)) for place in places))
    if experts_us:
        pairs = ((n, active) for n in SIZES for active in (2, 4, 8) if active <= 2 * n)
        rows = ((*pair, experts_us(*pair)) for pair in pairs)
        _write(folder, "moe", "tokens,activated_experts", rows)
    return folder


def _write(folder: Path, name: str, columns: str, rows: Iterable[Iterable[object]]) -> None:
    lines = [f"{columns},time_us", *(",".join(map(str, row)) for row in rows)]
    (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
