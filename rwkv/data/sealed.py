"""Stored values with a checksum of their key and content, so that no damaged or misplaced one is taken for another."""

import hashlib

_MAGIC = b"rwkvsum1"
_SIZE = 8
HEAD_SIZE = len(_MAGIC) + _SIZE


def checksum(key: str, content: bytes) -> bytes:
    """The 8 bytes that a value under a key is held against."""
    return hashlib.blake2b(content, digest_size=_SIZE, key=hashlib.blake2b(key.encode()).digest()).digest()


def stated_checksum(head: bytes) -> bytes:
    """What the first HEAD_SIZE bytes of a sealed value say of the rest."""
    return head[len(_MAGIC) : HEAD_SIZE]


def seal(key: str, content: bytes) -> bytes:
    """The value that is stored under a key."""
    return _MAGIC + checksum(key, content) + content


def is_sealed(value: bytes) -> bool:
    """Whether a value has a checksum at all."""
    return value.startswith(_MAGIC)


def unseal(key: str, value: bytes) -> bytes:
    """The content of what lies under a key. Raises ValueError where it is not what was stored there."""
    content = value[len(_MAGIC) + _SIZE :]
    if not is_sealed(value) or value[len(_MAGIC) : len(_MAGIC) + _SIZE] != checksum(key, content):
        raise ValueError("its checksum is wrong")
    return content
