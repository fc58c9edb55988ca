"""Digests of payloads: what tells bytes that changed on the way from those that were sent.

A digest is text. ``xxh3:`` and 32 hexadecimal digits is XXH3-128, which is as fast as memory; 64
hexadecimal digits without a prefix are SHA-256, as everything was before protocol version 2.

Rule: XXH3 finds accidents, not forgeries: two payloads with the same digest can be made on purpose.
It may say whether a payload is whole, never which payload it is. Where equal digests decide that
two payloads are the same, they are cryptographic: the inputs of a task with an idempotency key,
and files of weights (``weights/checksums.py``).
"""

import hashlib

import xxhash

from paintmq.task import Buffer

XXH3 = "xxh3:"


def digest_of(data: Buffer, *, cryptographic: bool = False) -> str:
    """Return the digest of these bytes, which must be contiguous."""
    if cryptographic:
        return hashlib.sha256(data).hexdigest()
    return XXH3 + xxhash.xxh3_128_hexdigest(data)


def is_cryptographic(digest: str) -> bool:
    """Return whether it is out of reach to make other bytes with this digest."""
    return ":" not in digest


def is_known(digest: str) -> bool:
    """Return whether a digest of this kind can be checked here."""
    return is_cryptographic(digest) or digest.startswith(XXH3)


def matches(digest: str, data: Buffer) -> bool:
    """Return whether these bytes have that digest; never, if its kind is not known."""
    return digest_of(data, cryptographic=is_cryptographic(digest)) == digest


class Proof:
    """A digest of the same kind as another one, of bytes that come piece by piece."""

    def __init__(self, like: str) -> None:
        self._prefix = "" if is_cryptographic(like) else XXH3
        self._hash: xxhash.xxh3_128 | hashlib._Hash = (
            xxhash.xxh3_128() if self._prefix else hashlib.sha256()
        )

    def add(self, data: Buffer) -> "Proof":
        self._hash.update(data)
        return self

    @property
    def text(self) -> str:
        return self._prefix + self._hash.hexdigest()
