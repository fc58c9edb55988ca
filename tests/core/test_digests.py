"""Digests: two kinds, told apart by their text."""

import hashlib

import pytest

from paintmq.digests import Proof, digest_of, is_cryptographic, is_known, matches


def test_a_digest_is_xxh3_of_128_bits_unless_it_must_not_be_forged() -> None:
    """The first is a test vector of XXH3: what it makes of nothing."""
    assert digest_of(b"") == "xxh3:99aa06d3014798d86001c324468d497f"
    assert digest_of(b"words", cryptographic=True) == hashlib.sha256(b"words").hexdigest()
    assert not is_cryptographic(digest_of(b""))
    assert is_cryptographic(digest_of(b"", cryptographic=True))


@pytest.mark.parametrize("cryptographic", [False, True])
def test_bytes_match_their_own_digest_alone(cryptographic: bool) -> None:
    data = bytearray(b"words" * 1000)
    digest = digest_of(data, cryptographic=cryptographic)

    assert matches(digest, memoryview(data))
    for place in (0, 2500, 4999):
        data[place] ^= 1
        assert not matches(digest, data)
        data[place] ^= 1


def test_nothing_matches_a_digest_of_an_unknown_kind() -> None:
    assert not matches("blake9:" + digest_of(b"").removeprefix("xxh3:"), b"")
    assert not matches("", b"")
    assert not is_known("blake9:00")
    assert is_known(digest_of(b""))
    assert is_known(digest_of(b"", cryptographic=True))


@pytest.mark.parametrize("cryptographic", [False, True])
def test_a_proof_takes_its_bytes_piece_by_piece(cryptographic: bool) -> None:
    digest = digest_of(b"one two", cryptographic=cryptographic)

    assert Proof(digest).add(b"one ").add(b"two").text == digest
