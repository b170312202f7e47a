"""Where a model lies: an embedded one, a folder, a GGUF file, a file of a package, or a hub id."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from executor.embedded_models import MODEL_FOLDERS
from staircase.errors import ModelError
from staircase.files import named_path

PACKAGE = "package:"


@dataclass(frozen=True)
class ModelSource:
    """As transformers takes it: a folder or a hub id, and of GGUF the file in the folder."""

    place: str
    gguf_file: str | None = None

    @property
    def options(self) -> dict[str, str]:
        """Beside the place."""
        return {} if self.gguf_file is None else {"gguf_file": self.gguf_file}

    @property
    def file(self) -> Path | None:
        """The GGUF file."""
        return None if self.gguf_file is None else Path(self.place, self.gguf_file)


def source_of(name: str) -> ModelSource:
    """Where the model lies that a scenario calls ``name``.

    Raises:
        ModelError: there is no such file, folder or package.
    """
    if name in MODEL_FOLDERS:
        return ModelSource(str(MODEL_FOLDERS[name]))
    if name.startswith(PACKAGE):
        return _of_path(_in_package(name), name)
    return _of_path(named_path(name), name)


def check_sources(named: Mapping[str, str]) -> None:
    """Raises ModelError with the key of the first model that is not there.

    Args:
        named: models by the scenario's key.
    """
    for key, name in named.items():
        try:
            source_of(name)
        except ModelError as error:
            raise ModelError(f"{key}: {error}") from None


def _of_path(path: Path, name: str) -> ModelSource:
    if path.suffix == ".gguf":
        return _gguf(path, name)
    is_path = name.startswith((".", "/", "~", PACKAGE)) or path.exists()
    if is_path and not (path / "config.json").is_file():
        raise ModelError(
            f"model {name!r}: no such folder with a config.json; "
            "give a folder written by save_pretrained, a GGUF file, or a hub id"
        )
    return ModelSource(str(path) if is_path else name)


def _gguf(path: Path, name: str) -> ModelSource:
    if not path.is_file():
        raise ModelError(f"model {name!r}: no such file")
    if importlib.util.find_spec("gguf") is None:
        raise ModelError(f"model {name!r}: GGUF files need gguf: pip install 'staircase[gguf]'")
    return ModelSource(str(path.parent), path.name)


def _in_package(name: str) -> Path:
    """The file or folder of ``package:NAME/PATH``, counted from where packages are installed."""
    package, _, inside = name.removeprefix(PACKAGE).partition("/")
    if not package or not inside:
        raise ModelError(f"model {name!r}: must be package:NAME/PATH, PATH inside the package")
    try:
        found = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        raise ModelError(f"model {name!r}: pip install {package}; it is not installed") from None
    path = Path(str(found.locate_file(inside)))
    if not path.exists():
        files = [str(file) for file in found.files or () if file.name.endswith(".gguf")]
        hint = f"; it has {', '.join(files)}" if files else ""
        raise ModelError(f"model {name!r}: the package has no {inside}{hint}")
    return path
