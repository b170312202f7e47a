"""The file of keys by which clients of a server are known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, RootModel, ValidationError

from executor.gateway.keys import Key
from staircase.errors import InputError
from staircase.spec.strict import Count, Strict
from staircase.spec.yaml_file import read_yaml


class KeySpec(Strict):
    """``concurrency``: requests at a time, waiting ones among them."""

    key: Annotated[str, Field(min_length=1)]
    concurrency: Count | None = None


class KeysSpec(RootModel[Annotated[dict[str, KeySpec], Field(min_length=1)]]):
    """By the client's name."""


def load_keys(path: Path) -> dict[str, Key]:
    """By the client's name.

    Raises:
        InputError: the file is none of keys, or two clients have the same; no key is in the words.
    """
    try:
        found = KeysSpec.model_validate(read_yaml(path)).root
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        message = f"{path}: {place or 'it'}: must be lines of NAME: {{key: …, concurrency: …}}"
        raise InputError(message) from None
    secrets = [one.key for one in found.values()]
    if len(set(secrets)) < len(secrets):
        raise InputError(f"{path}: two clients have the same key; give each its own")
    return {name: Key(one.key, one.concurrency) for name, one in found.items()}
