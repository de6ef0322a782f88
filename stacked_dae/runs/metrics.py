"""The figures of a stage, epoch by epoch."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from stacked_dae.errors import StageError
from stacked_dae.utils.files import checksum, named, write_text


def epoch_row(epoch: int, figures: Mapping[str, float], seconds: float) -> dict[str, float]:
    """Return the row of an epoch."""
    return {"epoch": epoch, **figures, "seconds": round(seconds, 4)}


class Metrics:
    """A stage's ``metrics.csv``: one row per epoch, written before the epoch's checkpoint."""

    def __init__(self, path: Path, sha256: str | None = None) -> None:
        self.path, self._sha256 = path, sha256

    def rows(self) -> list[dict[str, float]]:
        """Return the rows so far; none where there is no file.

        Raises:
            StageError: the file is not as it was written.
        """
        if self._sha256 is None and not self.path.exists():
            return []
        try:
            # A device or a pipe would be read for ever.
            if not self.path.is_file():
                raise ValueError
            if self._sha256 is not None and checksum(self.path) != self._sha256:
                raise ValueError
            with self.path.open(newline="") as file:
                # A measure that was asked for later is empty in the rows before.
                return [
                    {name: float(value) for name, value in row.items() if value != ""} for row in csv.DictReader(file)
                ]
        except (OSError, ValueError, TypeError, csv.Error):
            raise StageError(f"{self.path} is damaged; run again with --rerun to train its stage again") from None

    @property
    def text(self) -> str:
        """The file's text, empty where there is none."""
        return self.path.read_text() if self.path.is_file() else ""

    def _header(self) -> str:
        """Return the file's first line, empty where there is none."""
        if not self.path.is_file():
            return ""
        with self.path.open() as file:
            return file.readline().rstrip("\n")

    def restore(self, text: str) -> None:
        """Write the file's text of an earlier time."""
        write_text(self.path, text)

    def append(self, row: Mapping[str, float]) -> None:
        """Add the row of one more epoch; a measure that the file has no column for yet gets one."""
        header = self._header()
        if header and header != ",".join(row):
            rows = [*self.rows(), row]
            names = list(dict.fromkeys(name for earlier in rows for name in earlier if name != "seconds"))
            text = io.StringIO()
            table = csv.DictWriter(text, [*names, "seconds"], lineterminator="\n")
            table.writeheader()
            table.writerows({**earlier, "epoch": int(earlier["epoch"])} for earlier in rows)
            write_text(self.path, text.getvalue())
            return
        lines = [",".join(str(value) for value in row.values())]
        if not header:
            lines.insert(0, ",".join(row))
        with named(self.path), self.path.open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))
