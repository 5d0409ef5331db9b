"""Optuna's journal file, mended where a crash or a full disk cut it off."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock


class JournalFile(JournalFileBackend):
    """A journal file whose last line may have been cut off.

    Optuna's own class would put the next line behind the rest of that one, and the file could
    not be read any more. Processes with either class may share a file: format and lock are equal.

    Args:
        path: the file; it is made if it is not there.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._exclusive = JournalFileSymlinkLock(path)
        super().__init__(path, lock_obj=self._exclusive)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add lines: all of them, or none if the disk is full."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        self._exclusive.acquire()
        try:
            self._mend()
            try:
                with self._path.open("ab") as file:
                    file.write(lines.encode())
                    file.flush()
                    os.fsync(file.fileno())
            except OSError:
                self._mend()
                raise
        finally:
            self._exclusive.release()

    def _mend(self) -> None:
        """Remove what follows the last line break."""
        with self._path.open("rb") as file:
            start = end = file.seek(0, os.SEEK_END)
            tail = b""
            while start > 0 and not tail.count(b"\n"):
                start = max(0, start - (1 if start == end else 65536))  # as a rule, one byte does
                file.seek(start)
                tail = file.read(end - start)
        whole = start + tail.rfind(b"\n") + 1
        if whole < end:
            os.truncate(self._path, whole)
