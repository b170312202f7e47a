"""Which figures tables of schedules show."""

from __future__ import annotations

from collections.abc import Collection, Iterable

# Of a table of schedules.
COLUMNS = (
    "ttft_s",
    "smooth_start_s",
    "e2e_s",
    "start_after_input_s",
    "last_after_input_s",
    "retracted_tokens",
    "kept",
    "stall_s",
    "vote_right",
    "samples",
    "prefilled_tokens",
    "cached_tokens",
    "loss",
    "agreement",
    "score",
    "unread",
    "device_s",
)
# The figures that stand side by side wherever a schedule is judged.
JUDGED = ("ttft_s", "smooth_start_s", "e2e_s")
# Of a table of what the answers are like as texts.
TEXT_COLUMNS = (
    "answer_tokens",
    "leaks",
    "seams",
    "repetition",
    "strange",
    "log_likelihood",
    "beyond_normal",
)
STAND_INS = ("unread", "device_s")
WITH_INTERVAL = ("smooth_start_s", "agreement", "score", "beyond_normal")


def shown_columns(known: Collection[str]) -> list[str]:
    """Of the figures that are ``known``; stand-ins for quality where that is not."""
    hidden = STAND_INS if "loss" in known else ()
    return [name for name in COLUMNS if name in known and name not in hidden]


def text_columns(known: Iterable[str]) -> list[str]:
    """Of the figures that are ``known``, those of answers as texts."""
    names = set(known)
    return [name for name in TEXT_COLUMNS if name in names]
