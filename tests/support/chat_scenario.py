"""A pipeline behind one chat server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.test_remote_profiles import scenario


def chat_scenario(folder: Path, url: str, **engine: Any) -> Path:
    """With little to do.

    Args:
        engine: keys of the engine beside its address.
    """
    path = scenario(folder, url)
    content = yaml.safe_load(path.read_text())
    content["plan"] = {"trials": 12}
    for one in content["engines"].values():
        one |= engine
    for agent in content["pipeline"]["agents"].values():
        agent["max_tokens"] = 24
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path
