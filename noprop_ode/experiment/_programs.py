"""A cache of compiled programs, kept from one command to the next."""

import contextlib
import functools
import hashlib
import os
import platform
import re
import stat
import tempfile
from pathlib import Path

import jax

from ..data._cache import cache_dir, warn_once


VARIABLE = "NOPROP_ODE_PROGRAMS"
_MAX_BYTES = 2**29


def keep_programs() -> Path | None:
    """Caches the programs that XLA compiles for the commands of this process, in JAX's persistent compilation cache, so
    that the next command with the same programs reads them instead. They are the same to the last bit.

    If JAX already has a cache, from its settings or its environment variables, nothing is changed. If the folder cannot
    be written, one warning says so, and nothing is cached.

    **Returns:** the folder; `None` if nothing was changed.
    """
    chosen = os.environ.get(VARIABLE)
    config = jax.config.values
    if chosen == "off" or config["jax_compilation_cache_dir"] or not config["jax_enable_compilation_cache"]:
        return None
    try:
        # Programs are machine code: each kind of processor has its own folder, as several machines may share a home.
        folder = (Path(chosen).expanduser() if chosen else cache_dir() / "programs") / _processor()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # what lies here is run: nobody else may write
        with tempfile.TemporaryFile(dir=folder):
            pass
        _prune(folder, _MAX_BYTES)
    except (OSError, RuntimeError) as error:  # the latter from a user without a home
        warn_once(
            f"cannot keep compiled programs ({error}), so every command compiles its own; set {VARIABLE} to a folder "
            "that can be written, or to off"
        )
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # Each of the hundred small programs at the start of a run takes longer to compile than to read.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return folder


@functools.cache
def _processor() -> str:
    """A name for everything that the processor can do. JAX itself distinguishes versions of its compiler, but not in
    every release processors, and machine code for another one may crash."""
    found = [platform.system(), platform.machine(), platform.processor()]
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        text = ""
    for name in ("vendor_id", "cpu family", "model", "flags", "Features"):  # the last on ARM
        match = re.search(rf"^{name}\s*:(.*)$", text, re.MULTILINE)
        found.append("" if match is None else " ".join(sorted(match[1].split())))
    return f"{platform.machine() or 'cpu'}-{hashlib.sha256(repr(found).encode()).hexdigest()[:12]}"


def _prune(folder: Path, max_bytes: int) -> None:
    """Bounds the size of a folder: above the bound, the least recently used files are deleted until it is at half.

    JAX can do this too (`jax_compilation_cache_max_size`), but then it reads the whole folder again for every program
    that it adds: 0.1 s with 2,000 programs.
    """
    files = []
    for path in folder.rglob("*"):  # on a GPU, JAX keeps what it tried out in a folder of its own
        with contextlib.suppress(FileNotFoundError):  # another process may prune, too
            found = path.lstat()
            if stat.S_ISREG(found.st_mode):
                files.append((max(found.st_atime, found.st_mtime), path, found.st_size))
    size = sum(size for *_, size in files)
    if size <= max_bytes:
        return
    for _, path, own in sorted(files):
        if size <= max_bytes // 2:
            break
        path.unlink(missing_ok=True)
        size -= own
