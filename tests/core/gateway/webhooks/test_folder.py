"""Webhooks survive in files, and one process at a time delivers them."""

import os
from pathlib import Path

import pytest

from paintmq.errors import ConfigError
from paintmq.gateway.webhooks.folder import HookFolder
from paintmq.gateway.webhooks.hook import Hook

HOOK = Hook(task="a" * 32, owner="a" * 12, name="anna", url="https://h.example/?key=1")


@pytest.fixture
def folder(tmp_path: Path) -> HookFolder:
    made = HookFolder(tmp_path / "hooks")
    made.make()
    return made


def test_what_was_written_is_there_for_the_next_process_and_for_no_other_user(
    folder: HookFolder,
) -> None:
    folder.write(HOOK)

    assert HookFolder(folder.path).read(HOOK.task) == HOOK
    assert folder.names() == {HOOK.task}
    assert (folder.path / f"{HOOK.task}.json").stat().st_mode & 0o077 == 0
    folder.remove(HOOK.task)
    folder.remove(HOOK.task)
    assert folder.read(HOOK.task) is None


def test_one_delivers_and_the_next_one_when_it_has_ended(folder: HookFolder) -> None:
    other = HookFolder(folder.path)

    assert (folder.try_lock(), folder.try_lock(), other.try_lock()) == (True, True, False)
    folder.unlock()
    assert other.try_lock()
    other.unlock()


@pytest.mark.parametrize("data", [b"{", b'{"version": 9}', b"[" * 100_000])
def test_a_file_that_cannot_be_read_is_left_alone(folder: HookFolder, data: bytes) -> None:
    (folder.path / f"{HOOK.task}.json").write_bytes(data)

    assert folder.read(HOOK.task) is None
    assert folder.names() == {HOOK.task}


def test_a_half_written_file_does_not_count(folder: HookFolder) -> None:
    (folder.path / f"{HOOK.task}.{os.getpid()}.new").write_bytes(b"{")

    assert folder.names() == set()
    folder.write(HOOK)
    assert folder.read(HOOK.task) == HOOK


def test_a_folder_that_cannot_be_made_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match=r"http\.webhook_folder"):
        HookFolder(tmp_path / "file").make()
