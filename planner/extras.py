"""Packages that not everybody needs, by the extra that installs them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from staircase.errors import InputError

EXTRAS = {
    "models": ("torch", "transformers", "tokenizers", "safetensors", "huggingface_hub"),
    "report": ("altair", "vl_convert"),
    "notebook": ("pandas",),
    "serve": ("fastapi", "starlette", "uvicorn", "prometheus_client", "opentelemetry"),
}


class MissingExtraError(InputError):
    """Something was asked for that needs packages which are not installed."""


def what_to_install(package: str | None) -> str | None:
    """In a line; None if ``package`` belongs to no extra."""
    for extra, packages in EXTRAS.items():
        if package in packages:
            return f"this needs {package}: pip install 'staircase[{extra}]'"
    return None


@contextmanager
def extras() -> Iterator[None]:
    """Raises MissingExtraError where an import inside lacks a package of an extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        line = what_to_install(error.name)
        if line is None:
            raise
        raise MissingExtraError(line) from None
