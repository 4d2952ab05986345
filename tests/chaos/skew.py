"""A host's clock that is wrong and jumps, for some processes: a few lines of C by LD_PRELOAD.

It does what the program faketime does, and can change while a process runs. It needs a C compiler.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("skewed_clock.c")


class Clock:
    """The clock of the day of those processes that are started with `environment`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = folder / f"{name}.clock"
        self._library = folder / "skewed_clock.so"
        self._file.write_bytes(struct.pack("=q", 0))

    @property
    def environment(self) -> dict[str, str]:
        """Return what to add to a process's environment; nothing where there is no compiler."""
        if not self._library.exists():
            return {}
        return {"LD_PRELOAD": str(self._library), "CLOCK_OFF_FILE": str(self._file)}

    def make(self) -> bool:
        """Return whether clocks can be set off here: the library is there, compiled if need be."""
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            return False
        command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(self._library), str(_SOURCE)]
        return subprocess.run([*command, "-ldl"], capture_output=True, check=False).returncode == 0

    def jump(self, seconds: int) -> None:
        """Set the clock so many seconds ahead of the true time, at once."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("=q", seconds))
