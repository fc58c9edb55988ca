"""A receiver can tell what the gateway has signed from everything else."""

import base64
import runpy
from pathlib import Path

import pytest

from paintmq.gateway.webhooks.signature import secret_of, shown_secret, signed_headers

RECEIVER = runpy.run_path(str(Path(__file__).parents[4] / "examples/webhook_receiver.py"))
verify, UntrustedError = RECEIVER["verify"], RECEIVER["UntrustedError"]
SECRET = secret_of(b"of the service", "a" * 12)
BODY = b'{"type":"task.ended"}'


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The example of that specification's own documentation."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'

    headers = signed_headers(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", body, now=1614265330.9)

    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_example_receiver_believes_it_for_minutes() -> None:
    headers = signed_headers(SECRET, "a" * 32, BODY, now=1_000.0)

    for now in (1_000.0, 1_299.0, 701.0):
        assert verify(shown_secret(SECRET), headers, BODY, now=now) == "a" * 32
    for now in (1_301.0, 600.0):
        with pytest.raises(UntrustedError, match="time stamp"):
            verify(shown_secret(SECRET), headers, BODY, now=now)


@pytest.mark.parametrize("change", ["body", "webhook-id", "webhook-timestamp", "secret", "none"])
def test_whatever_is_changed_the_example_receiver_does_not_believe_it(change: str) -> None:
    headers = dict(signed_headers(SECRET, "a" * 32, BODY, now=1_000.0))
    secret, body = shown_secret(SECRET), BODY
    match change:
        case "body":
            body += b" "
        case "secret":
            secret = shown_secret(secret_of(b"of the service", "b" * 12))
        case "webhook-timestamp":
            headers[change] = "1001"
        case "webhook-id":
            headers[change] = "b" * 32
        case _:
            del headers["webhook-signature"]

    with pytest.raises(UntrustedError):
        verify(secret, headers, body, now=1_000.0)
