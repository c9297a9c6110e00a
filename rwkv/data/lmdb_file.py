"""Check the file of an LMDB database before LMDB maps it, because LMDB crashes on damaged files.

The check ensures that every page, key and value that LMDB can reach is inside the file. It does not read the values.
Layout: LMDB 0.9, mdb.c, in the byte order of the machine.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_META = struct.Struct("=10xH4xII16x")  # the page's flags, magic, version
_TREE = struct.Struct("=IHHQQQQQ")  # pad, flags, depth; branch, leaf and overflow pages; entries, root
_LAST = struct.Struct("=QQ")  # last page, transaction
_PAGE = struct.Struct("=Q2xHHH")  # number, flags, lower and upper end of the free space
_RUN = struct.Struct("=Q2xHI")  # pages of one value: number of the first, flags, count
_NODE = struct.Struct("=HHHH")  # low and high half of a size or page, flags, size of the key
_NUMBER = struct.Struct("=Q")

_TREES_AT = _META.size
_LAST_AT = _TREES_AT + 2 * _TREE.size
_META_SIZE = _LAST_AT + _LAST.size

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_BRANCH, _LEAF, _OVERFLOW, _IS_META = 1, 2, 4, 8
_BIG, _SUBTREE = 1, 2
_INTEGER_KEY, _ONE_FILE = 0x08, 0x4000
_NO_ROOT = (1 << 64) - 1
_PAGE_SIZES = [1 << power for power in range(9, 17)]


@dataclass(frozen=True)
class _Tree:
    """The header of one of the two trees: free pages by transaction, or entries."""

    flags: int
    depth: int
    entries: int
    root: int


@dataclass(frozen=True)
class _Snapshot:
    """The newest state of the database: its trees, and its pages up to `last`."""

    page_size: int
    transaction: int
    last: int
    free: _Tree
    main: _Tree


@dataclass(frozen=True)
class _Value:
    """An entry of a tree, whose value has `size` bytes at `position`. is_mark: it is only a key between two pages."""

    key: bytes
    position: int
    size: int
    is_mark: bool = False


def check_lmdb_file(path: Path, to_write: bool) -> None:
    """Check that LMDB can read a file, and write it if `to_write`.

    A file that another process changes meanwhile is checked again. Empty files and other versions are left to LMDB.

    Raises:
        ValueError: The file is damaged. The error names the problem and its place.
        OSError: The file cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        while (snapshot := _newest(_File(file.fileno()))) is not None:
            try:
                _check(_Pages(_File(file.fileno()), snapshot), snapshot, to_write)
            except ValueError:
                # A page may be reused as soon as the next transaction is done.
                if _newest(_File(file.fileno())) == snapshot:
                    raise
            else:
                return


def revision(path: Path) -> str:
    """The newest transaction of a file and its size: a text that copies share until one of them is written to.

    Raises:
        ValueError: The file is damaged.
        OSError: The file cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        snapshot = _newest(_File(file.fileno()))
    return "an empty file" if snapshot is None else f"transaction {snapshot.transaction}, {snapshot.last + 1} pages"


def _check(pages: "_Pages", snapshot: _Snapshot, to_write: bool) -> None:
    for _ in _entries(pages, snapshot.main, to_write):
        pass
    if to_write:
        free = list(_entries(pages, snapshot.free, is_thorough=True))
        for entry in free:
            _check_free(pages, entry)


class _File:
    """Reads by position, and never beyond the file's initial end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def read(self, position: int, size: int) -> bytes:
        if position + size > self.size:
            raise ValueError(f"the file ends at byte {self.size}, but its contents at {position + size} or later")
        data = os.pread(self._descriptor, size, position)
        if len(data) < size:
            raise ValueError(f"the file ends before byte {position + size}")
        return data


def _newest(file: _File) -> _Snapshot | None:
    """The newer of the two headers; None if the check is left to LMDB."""
    if file.size == 0:
        return None
    first = file.read(0, _META_SIZE)
    if _META.unpack_from(first)[1:] != (_MAGIC, _VERSION):
        return None
    page_size = _TREE.unpack_from(first, _TREES_AT)[0]
    if page_size not in _PAGE_SIZES:
        raise ValueError(f"pages of {page_size} bytes")
    both = file.read(0, page_size + _META_SIZE)  # in one read, because another process may write them
    headers = [both[:_META_SIZE], both[page_size:]]
    for number, header in enumerate(headers):
        if _META.unpack_from(header) != (_IS_META, _MAGIC, _VERSION):
            raise ValueError(f"page {number} is not a header")
    transactions = [_LAST.unpack_from(header, _LAST_AT)[1] for header in headers]
    # The headers are written in turn. A damaged number would restore an older state.
    if transactions != [0, 0] and (abs(transactions[0] - transactions[1]) != 1 or transactions[0] % 2):
        raise ValueError(f"headers of transactions {transactions[0]} and {transactions[1]}")
    newer = headers[int(transactions[1] > transactions[0])]
    free, main = (_tree(newer, _TREES_AT + number * _TREE.size) for number in (0, 1))
    if _TREE.unpack_from(newer, _TREES_AT)[0] != page_size or free.flags & ~_ONE_FILE != _INTEGER_KEY or main.flags:
        raise ValueError("the header of another kind of database")
    return _Snapshot(page_size, max(transactions), _LAST.unpack_from(newer, _LAST_AT)[0], free, main)


def _tree(header: bytes, position: int) -> _Tree:
    _, flags, depth, _, _, _, entries, root = _TREE.unpack_from(header, position)
    return _Tree(flags, depth, entries, root)


class _Pages:
    """The pages of a snapshot. Each may be used only once."""

    def __init__(self, file: _File, snapshot: _Snapshot) -> None:
        self.size, self._file, self._last = snapshot.page_size, file, snapshot.last
        self._taken = bytearray(-(-file.size // self.size))
        self.take(0, 2)

    def read(self, page: int) -> bytes:
        """Read a page of a tree."""
        self.take(page, 1)
        return self._file.read(page * self.size, self.size)

    def value(self, position: int, size: int) -> bytes:
        """Read the bytes of a value."""
        return self._file.read(position, size)

    def run(self, page: int, size: int, is_thorough: bool) -> int:
        """The position of a value that has its own pages. is_thorough: check the pages' headers, too."""
        position, count = page * self.size, -(-(_PAGE.size + size) // self.size)
        if is_thorough:
            number, flags, more = _RUN.unpack(self._file.read(position, _RUN.size))
            # A value that shrinks keeps its pages.
            if (number, flags) != (page, _OVERFLOW) or more < count:
                raise ValueError(f"page {page} does not begin a value of {count} pages")
            count = more
        self.take(page, count)
        if position + _PAGE.size + size > self._file.size:
            raise ValueError(f"the file ends at byte {self._file.size}, within the value on page {page}")
        return position + _PAGE.size

    def take(self, page: int, count: int) -> None:
        """Mark pages as used."""
        if page + count - 1 > self._last:
            raise ValueError(f"page {page} is used, but the last is {self._last}")
        pages = len(self._taken)
        if page + count > pages:
            raise ValueError(f"the file ends with page {pages - 1}, but its contents with {page + count - 1}")
        if any(self._taken[page : page + count]):
            raise ValueError(f"page {page} is used twice")
        self._taken[page : page + count] = b"\1" * count

    def free(self, page: int) -> None:
        """Mark a page as free. Pages at the end that were never written are not in the file yet."""
        if page > self._last:
            raise ValueError(f"page {page} is free, but the last is {self._last}")
        if page < len(self._taken):
            self.take(page, 1)


def _check_free(pages: _Pages, entry: _Value) -> None:
    """Check the free pages of a transaction: their count, then their numbers."""
    content = pages.value(entry.position, entry.size)
    count, *free = struct.unpack(f"={len(content) // _NUMBER.size}Q", content[: len(content) // 8 * 8] or bytes(8))
    if count > len(free):
        raise ValueError(f"{count} pages are free, but {len(free)} are listed")
    for page in free[:count]:
        pages.free(page)


def _entries(pages: _Pages, tree: _Tree, is_thorough: bool) -> Iterator[_Value]:
    """The entries of a tree. Checks their order and their number."""
    has_numbers = tree.flags & _INTEGER_KEY
    before, was_mark = b"", True
    count = 0
    for value in _below(pages, tree.root, tree.depth, is_thorough) if tree.root != _NO_ROOT else ():
        if has_numbers and len(value.key) != _NUMBER.size:
            raise ValueError(f"the key {value.key!r} is not a number")
        key = _NUMBER.unpack(value.key)[0].to_bytes(_NUMBER.size, "big") if has_numbers else value.key
        # A mark between two pages may equal the first key of the second.
        if key < before or (key == before and not was_mark):
            raise ValueError(f"the key {value.key!r} is out of order")
        before, was_mark = key, value.is_mark
        if not value.is_mark:
            count += 1
            yield value
    if count != tree.entries:
        raise ValueError(f"{count} entries instead of {tree.entries}")


def _below(pages: _Pages, page: int, depth: int, is_thorough: bool) -> Iterator[_Value]:
    """The entries on a page and on the pages below it, with the marks between them."""
    content = pages.read(page)
    number, flags, lower, upper = _PAGE.unpack_from(content)
    if (number, flags) != (page, _LEAF if depth == 1 else _BRANCH):
        raise ValueError(f"page {page} does not belong to the tree")
    if not _PAGE.size < lower <= upper <= pages.size or lower % 2:
        raise ValueError(f"page {page} is free from byte {lower} to {upper}")
    offsets = struct.unpack_from(f"={(lower - _PAGE.size) // 2}H", content, _PAGE.size)
    if min(offsets) != upper or max(offsets) > pages.size - _NODE.size:
        raise ValueError(f"page {page} has an entry outside it")
    used = 0
    for index, offset in enumerate(offsets):
        low, high, flags, key_size = _NODE.unpack_from(content, offset)
        start = offset + _NODE.size
        stop = start + key_size
        key = content[start:stop]
        if depth > 1:
            if stop > pages.size:
                raise ValueError(f"page {page} has a mark that exceeds it")
            if index:
                yield _Value(key, 0, 0, is_mark=True)
            yield from _below(pages, low | high << 16 | flags << 32, depth - 1, is_thorough)
        else:
            size = low | high << 16
            stop += _NUMBER.size if flags & _BIG else size
            if stop > pages.size or flags & ~(_BIG | _SUBTREE):
                raise ValueError(f"page {page} has an entry that exceeds it, or of another kind of database")
            position = page * pages.size + stop - size
            if flags & _BIG:
                position = pages.run(_NUMBER.unpack_from(content, stop - _NUMBER.size)[0], size, is_thorough)
            yield _Value(key, position, size)
        used += (stop - offset + 1) // 2 * 2
    if used != pages.size - upper:
        raise ValueError(f"page {page} has {used} bytes instead of {pages.size - upper}")
