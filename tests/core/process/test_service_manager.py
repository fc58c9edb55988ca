"""What systemd is told."""

import socket
from pathlib import Path

import pytest

from paintmq.process.service_manager import ALIVE, READY, tell


@pytest.mark.parametrize("kind", ["path", "name"])
def test_it_is_told_at_its_socket(tmp_path: Path, kind: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(10)
        place = str(tmp_path / "s") if kind == "path" else f"@paintmq-{tmp_path.name}-{id(manager)}"
        manager.bind(place if kind == "path" else f"\0{place[1:]}")

        assert tell(READY, {"NOTIFY_SOCKET": place})
        assert tell(ALIVE, {"NOTIFY_SOCKET": place})

        assert [manager.recv(100) for _ in range(2)] == [b"READY=1", b"WATCHDOG=1"]


@pytest.mark.parametrize("place", ["", "vsock:2:1", "/no/such/socket"])
def test_where_there_is_none_nothing_happens(place: str) -> None:
    assert not tell(READY, {"NOTIFY_SOCKET": place})
