"""Throws random, damaged and hostile bytes at the wire: ``python -m tests.harness.fuzz``.

Every input must be refused with WireError or be a message that survives the way there and back.
Anything else ends the run with the seed and the bytes that did it. With ``--sockets`` the inputs
are thrown at the ports of a running broker instead, in both transports, with and without keys.
"""

import argparse
import random
import sys
import time
from collections.abc import Iterator, Sequence

from attrs import frozen

from paintmq.errors import WireError
from paintmq.task import Buffer
from paintmq.wire.codec import decode, encode
from paintmq.wire.link import Link, LinkLimits
from tests.harness.mutator import Mutator
from tests.harness.socket_fuzz import attack_sockets

_MEMORY = 4 * 1024 * 1024
"""Payload bytes that one link may hold while it is attacked."""


@frozen
class FuzzReport:
    """What came of the inputs."""

    inputs: int
    understood: int
    refused: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.inputs:,} inputs in {self.seconds:.1f} s "
            f"({self.inputs / max(self.seconds, 1e-9):,.0f} a second): "
            f"{self.refused:,} refused, {self.understood:,} understood, nothing else"
        )


def attack(inputs: int, seed: int) -> FuzzReport:
    """Throw ``inputs`` at the codec and at a link in turn; the same ones for one seed.

    Raises:
        AssertionError: an input was neither refused nor understood.
    """
    rng = random.Random(seed)
    mutator = Mutator(rng)
    link = Link(LinkLimits(max_message_bytes=_MEMORY))
    understood = 0
    begin = time.monotonic()
    for number in range(inputs):
        frames: Sequence[Buffer] = [mutator.next()] if number % 2 else mutator.frames()
        try:
            if number % 2:
                message = decode(frames[0])
                assert decode(encode(message)) == message
            else:
                link.receive(frames)
                link.outgoing()
            understood += 1
        except WireError:
            pass
        except BaseException as error:
            raise AssertionError(
                f"input {number} of seed {seed} raised {error!r}: {[bytes(f) for f in frames]}"
            ) from error
    return FuzzReport(inputs, understood, inputs - understood, time.monotonic() - begin)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; the exit code is 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.harness.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sockets", action="store_true", help="at the ports of a running broker")
    chosen = parser.parse_args(arguments)
    try:
        for report in _reports(chosen.inputs, chosen.seed, sockets=chosen.sockets):
            sys.stdout.write(f"{report}\n")
    except AssertionError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _reports(inputs: int, seed: int, *, sockets: bool) -> Iterator[object]:
    """Iterate over what came of each part of the run."""
    if not sockets:
        yield attack(inputs, seed)
        return
    for transport in ("router", "pushpull"):
        for keys in (False, True):
            yield attack_sockets(inputs // 4, seed, transport=transport, keys=keys)


if __name__ == "__main__":
    sys.exit(main())
