"""Arrays that stay in their files and are read by rows.

They use plain reads instead of mapping: the pages of a mapped file count as memory of the process, and writing to one
on a full disk ends the process.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked_dae.utils.files import named

# Rows this many bytes apart are read in one go: sooner done than asked for twice, on every kind of disk.
_GAP = 2**15
# Bytes read in one go at the most.
_SPAN = 2**23
# Rows that are compared to find out whether a file was replaced.
_LOOKED_AT = 64
_PAGE = os.sysconf("SC_PAGE_SIZE")


class DiskArray:
    """A C-ordered (n, d) array in a file. Indexing it returns a copy: uint8 where the file has uint8, else float32.

    Args:
        path: the file.
        stored: its type of number.
        shape: (n, d).
        offset: bytes before the first row.
        writable: whether :meth:`write` is to be used.
    """

    def __init__(
        self, path: Path, stored: np.dtype[Any], shape: tuple[int, int], offset: int, *, writable: bool = False
    ) -> None:
        self.path, self.shape = path, shape
        self._stored, self._offset = stored, offset
        self._file = os.open(path, os.O_RDWR if writable else os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    @staticmethod
    def from_memmap(mapped: np.memmap[Any, Any]) -> DiskArray | None:
        """Return the array behind a memory-mapped one, or behind whole rows of it; None for another array.

        None too where the file does not hold what the array does: copied on write, or replaced since.
        """
        if mapped.ndim != 2 or not mapped.flags.c_contiguous or mapped.filename is None or not mapped.size:
            return None
        if mapped.mode == "c":
            return None
        begin = np.frombuffer(mapped._mmap, np.uint8).ctypes.data  # type: ignore[attr-defined]
        # The mapping begins at a whole page, and a slice does not know how far it lies from its beginning.
        page = mapped.offset - mapped.offset % _PAGE
        offset = page + mapped.ctypes.data - begin
        try:
            array = DiskArray(Path(mapped.filename), mapped.dtype, (mapped.shape[0], mapped.shape[1]), offset)
            rows = range(0, len(mapped), max(1, len(mapped) // _LOOKED_AT))
            same = all(array._read(row, row + 1).tobytes() == mapped[row : row + 1].tobytes() for row in rows)
        except OSError:
            same = False
        return array if same else None

    @staticmethod
    def create(path: Path, shape: tuple[int, int]) -> DiskArray:
        """Return a new float32 array in ``path`` (.npy), with its disk space reserved; :meth:`write` fills it.

        Raises:
            OSError: the disk has no room for it.
        """
        dtype = np.dtype("<f4")
        path.parent.mkdir(parents=True, exist_ok=True)
        # What lies there may be a link to elsewhere.
        path.unlink(missing_ok=True)
        with path.open("xb") as file:
            header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            offset = file.tell()
            try:
                with named(path):
                    os.posix_fallocate(file.fileno(), 0, offset + dtype.itemsize * shape[0] * shape[1])
            except OSError:
                path.unlink()
                raise
        return DiskArray(path, dtype, shape, offset, writable=True)

    @staticmethod
    def create_unlinked(folder: Path, shape: tuple[int, int]) -> DiskArray:
        """Return a new float32 array in ``folder`` whose file disappears with it, however the process ends.

        Raises:
            OSError: the disk has no room for it.
        """
        dtype = np.dtype("<f4")
        with named(folder), TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, max(1, dtype.itemsize * shape[0] * shape[1]))
            array = DiskArray(Path(f"/proc/self/fd/{file.fileno()}"), dtype, shape, 0, writable=True)
        array.path = folder
        return array

    @staticmethod
    def open(path: Path) -> DiskArray:
        """Return the array in an .npy file that :meth:`create` made."""
        array = DiskArray.from_memmap(np.load(path, mmap_mode="r", allow_pickle=False))
        assert array is not None
        return array

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers that are returned."""
        return np.dtype(np.uint8) if self._stored == np.uint8 else np.dtype(np.float32)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, as they are returned."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.integer[Any]]) -> NDArray[Any]:
        if isinstance(rows, slice):
            first, last, step = rows.indices(len(self))
            if step == 1:
                return self._as_returned(self._read(first, max(last, first)))
            rows = np.arange(first, last, step)
        return self._as_returned(self._take(rows))

    def write(self, start: int, block: NDArray[np.float32]) -> None:
        """Write rows from ``start`` on."""
        left = np.ascontiguousarray(block, self._stored).reshape(-1).view(np.uint8).data
        at = self._offset + start * self._row_bytes
        while left:
            written = os.pwrite(self._file, left, at)
            left, at = left[written:], at + written

    @property
    def _row_bytes(self) -> int:
        return self.shape[1] * self._stored.itemsize

    def _as_returned(self, block: NDArray[Any]) -> NDArray[Any]:
        return block.astype(self.dtype, copy=False)

    def _read(self, first: int, last: int) -> NDArray[Any]:
        block = np.empty((last - first, self.shape[1]), self._stored)
        self._read_into(block, first)
        return block

    def _read_into(self, block: NDArray[Any], first: int) -> None:
        left = block.reshape(-1).view(np.uint8).data
        at = self._offset + first * self._row_bytes
        while left:
            got = os.preadv(self._file, [left], at)
            if not got:
                raise OSError(0, "has been cut off since it was opened", str(self.path))
            left, at = left[got:], at + got

    def _take(self, rows: NDArray[np.integer[Any]]) -> NDArray[Any]:
        """Return rows in any order: read in the order of the file, neighbours together."""
        order = np.argsort(rows, kind="stable")
        ascending = rows[order]
        out = np.empty((len(rows), self.shape[1]), self._stored)
        near = max(1, _GAP // self._row_bytes)
        most = max(1, _SPAN // self._row_bytes)
        ends = [*(np.flatnonzero(np.diff(ascending) > near) + 1).tolist(), len(rows)]
        start = 0
        for end in ends:
            while start < end:
                first = int(ascending[start])
                stop = end
                if ascending[end - 1] - first >= most:
                    stop = start + int(np.searchsorted(ascending[start:end], first + most))
                if stop == start + 1:
                    self._read_into(out[order[start]], first)
                else:
                    block = self._read(first, int(ascending[stop - 1]) + 1)
                    out[order[start:stop]] = block[ascending[start:stop] - first]
                start = stop
        return out


Inputs = NDArray[Any] | DiskArray
"""Rows of inputs or codes, (n, d): in memory, or on disk."""


def iter_blocks(inputs: Inputs, rows: int = 4096) -> Iterator[NDArray[Any]]:
    """Go through all rows, so many at a time."""
    for start in range(0, len(inputs), rows):
        yield inputs[start : start + rows]
