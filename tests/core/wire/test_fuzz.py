"""The fuzzer of the wire, and a modest run of it; ``python -m tests.harness.fuzz`` for more."""

import random

import pytest
from tests.harness import fuzz
from tests.harness.fuzz import attack, main
from tests.harness.mutator import Mutator, sample_messages

from paintmq.wire.codec import decode, encode
from paintmq.wire.frames import KIND_OF


@pytest.mark.parametrize("seed", range(4))
def test_whatever_arrives_is_understood_or_refused(seed: int) -> None:
    report = attack(5_000, seed)

    assert report.understood > 250
    assert report.refused > 2_500


def test_every_kind_of_message_is_attacked() -> None:
    samples = sample_messages()

    assert [type(sample) for sample in samples] == list(KIND_OF)
    assert [decode(encode(sample)) for sample in samples] == samples


def test_one_seed_gives_the_same_inputs() -> None:
    first, second = Mutator(random.Random(5)), Mutator(random.Random(5))

    assert [first.next() for _ in range(100)] == [second.next() for _ in range(100)]
    assert [first.frames() for _ in range(100)] == [second.frames() for _ in range(100)]


def test_an_error_of_another_kind_is_reported_with_its_seed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(data: bytes) -> object:
        raise KeyError("a bug")

    monkeypatch.setattr(fuzz, "decode", broken)

    assert main(["--inputs", "2", "--seed", "9"]) == 1
    assert "input 1 of seed 9 raised KeyError('a bug')" in capsys.readouterr().err


def test_a_run_says_what_came_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--inputs", "10"]) == 0

    assert capsys.readouterr().out.startswith("10 inputs in ")
