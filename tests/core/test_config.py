"""What a configuration does for those who show it."""

import pytest

from paintmq.config import without_password


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:secret@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:s@cret@host/db", "postgresql://me:***@host/db"),
        ("host=h password=secret dbname=d", "host=h password=*** dbname=d"),
        ("host=h password='se cret' dbname=d", "host=h password=*** dbname=d"),
        ("postgresql://host/db?password=secret&x=1", "postgresql://host/db?password=***&x=1"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("/var/lib/paintmq", "/var/lib/paintmq"),
    ],
)
def test_a_password_in_an_address_is_not_shown(address: str, shown: str) -> None:
    assert without_password(address) == shown
