"""Builds llama.cpp's ``llama-server``, a real server for tests; ``make llama-server`` runs it.

No package holds it ready-made, but the source package of llama-cpp-python holds all of llama.cpp
(MIT). Only its sources are used: the package itself is not built. A build that was interrupted is
taken up where it was.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from filelock import FileLock

NAME, VERSION = "llama-cpp-python", "0.3.36"
PACKAGE = f"llama_cpp_python-{VERSION}"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
# One program without libraries of its own that runs on any machine of this kind, and no more.
OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "OFF",
    "GGML_NATIVE": "OFF",
    "GGML_OPENMP": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_OPENSSL": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
}
# Each compiler takes up to about 1 GB.
MOST_JOBS = 8


class BuildError(Exception):
    """Says what is missing."""


def cache_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "staircase" / f"llama-server-{VERSION}"


def binary() -> Path:
    """Where the built program is, once it is built."""
    return cache_folder() / "llama-server"


def build() -> Path:
    """The program, built if it is not there yet; a second builder waits for the first.

    Raises:
        BuildError: something that it takes is missing, or the compiler failed.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        if not binary().exists():
            _check_tools()
            built = _compile(_sources(folder), folder / "build")
            _put(built, binary())
            shutil.rmtree(folder / "sources")
            shutil.rmtree(folder / "build")
    return binary()


def _check_tools() -> None:
    for tool, names in {"cmake": ["cmake"], "a C++ compiler": ["c++", "g++", "clang++"]}.items():
        if not any(map(shutil.which, names)):
            raise BuildError(f"llama-server cannot be built: {tool} is missing")


def _sources(folder: Path) -> Path:
    """llama.cpp's, unpacked; whole or not there at all."""
    sources, unfinished = folder / "sources", folder / "sources.part"
    if not sources.exists():
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        archive = _download(unfinished)
        with tarfile.open(archive) as packed:
            packed.extractall(unfinished, filter="data")
        archive.unlink()
        unfinished.rename(sources)
    return sources / PACKAGE / "vendor" / "llama.cpp"


def _download(folder: Path) -> Path:
    """The source package, from wherever pip gets its packages."""
    print(f"fetching {PACKAGE}", flush=True)
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{NAME}=={VERSION} --hash=sha256:{SHA256}\n")
    pip = f"-m pip download --quiet --no-deps --no-binary {NAME} --require-hashes".split()
    _run([sys.executable, *pip, "-d", folder, "-r", wanted])
    return folder / f"{PACKAGE}.tar.gz"


def _compile(sources: Path, folder: Path) -> Path:
    options = [f"-D{name}={value}" for name, value in OPTIONS.items()]
    jobs = min(os.cpu_count() or 1, MOST_JOBS)
    _run(["cmake", "-S", sources, "-B", folder, *options])
    _run(["cmake", "--build", folder, "--target", "llama-server", f"-j{jobs}"])
    return folder / "bin" / "llama-server"


def _run(words: list[str | Path]) -> None:
    try:
        subprocess.run(words, check=True)
    except subprocess.CalledProcessError as error:
        told = f"{words[0]} ended with {error.returncode}"
        raise BuildError(f"llama-server cannot be built: {told}") from None


def _put(built: Path, target: Path) -> None:
    unfinished = target.with_suffix(".part")
    shutil.copy2(built, unfinished)
    unfinished.rename(target)


if __name__ == "__main__":
    os.nice(19)
    try:
        print(build())
    except BuildError as error:
        sys.exit(str(error))
