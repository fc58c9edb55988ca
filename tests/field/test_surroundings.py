"""Every user, folder, disk and terminal: a command works, or says in one line what it lacks."""

import os
import pty
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from subprocess import CompletedProcess
from typing import Any

import pytest
from tests.harness.command_process import private_environment, run_command
from tests.harness.instant_session import CommandLine
from tests.harness.sample_pictures import mask, names_in, picture

import paintmq
from paintmq.broker.stores import journal_folder
from paintmq.cli import app, main, signals
from paintmq.cli.signals import Signals
from paintmq.client.client import Client
from paintmq.client.task import Task
from paintmq.config import BrokerConfig, WeightsConfig
from paintmq.errors import ConfigError, TaskCancelledError, WeightsMissingError
from paintmq.platforms import system_objection
from paintmq.settings.file import load_settings
from paintmq.task import TaskState
from paintmq.weights import WeightFolder


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a user without a home folder, as any user id in a container is."""

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("could not determine the home directory for '~/.config'")

    monkeypatch.setattr("platformdirs.user_config_path", refuse)
    monkeypatch.setattr("platformdirs.user_data_dir", refuse)


class TestNoHome:
    @pytest.mark.usefixtures("homeless")
    def test_settings_have_their_defaults(self, tmp_path: Path) -> None:
        assert load_settings(environ={}).file is None

    @pytest.mark.usefixtures("homeless")
    def test_pictures_are_done(self, command: CommandLine) -> None:
        picture(command.folder / "a.png")

        done = command.paint("a.png", "-m", mask(command.folder / "m.png"), "-o", "o.png")

        assert done.status == 0

    @pytest.mark.usefixtures("homeless")
    def test_models_are_listed_and_their_weights_missing(self, command: CommandLine) -> None:
        done = command("models", "list")

        assert done.status == 0
        assert "missing" in done.out or "needs" in done.out

    @pytest.mark.usefixtures("homeless")
    @pytest.mark.parametrize("arguments", [["up"], ["broker"]])
    def test_a_service_names_the_setting_that_it_needs(
        self, command: CommandLine, arguments: list[str]
    ) -> None:
        done = command(*arguments)

        assert done.status == 2
        assert done.errors == [
            "this user has no home folder to keep the journal in: set HOME, or name a place with"
            " broker.journal (PAINTMQ_BROKER__JOURNAL=PATH)"
        ]

    @pytest.mark.usefixtures("homeless")
    def test_doctor_tells_it_among_all_else_that_it_finds(self, command: CommandLine) -> None:
        done = command("doctor")

        lines = done.out.splitlines()
        (journal,) = [line for line in lines if line.split()[1:2] == ["journal"]]
        assert done.status == 1
        assert journal.startswith("problem journal  this user has no home folder to keep")
        assert any(line.split()[1:2] == ["ports"] for line in lines), "it goes on"

    @pytest.mark.usefixtures("homeless")
    def test_a_library_raises_the_same_in_words(self) -> None:
        with pytest.raises(ConfigError, match="durable=PATH"):
            Client(durable=True)
        with pytest.raises(ConfigError, match=r"weights\.folder"):
            _ = WeightFolder(WeightsConfig()).folder
        with pytest.raises(WeightsMissingError, match=r"weights\.folder names"):
            WeightFolder(WeightsConfig()).path("big-lama.pt")
        assert journal_folder(BrokerConfig(journal="/srv/j")) == Path("/srv/j")

    @pytest.mark.slow
    def test_an_empty_home_ends_no_command_in_a_traceback(self, tmp_path: Path) -> None:
        environment = private_environment(tmp_path) | {"HOME": ""}
        for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
            environment.pop(name)

        for command in (["config"], ["models", "list"], ["status"]):
            done = run_command(*command, environment=environment, cwd=Path("/"))
            assert "Traceback" not in done.stderr, command


class TestFolders:
    def test_a_current_folder_one_may_not_enter_has_no_settings(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        def refuse(self: Path) -> bool:
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr(Path, "is_file", refuse)

        assert load_settings(environ={}).file is None

    def test_no_temporary_folder_is_named_as_the_cause(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def refuse() -> str:
            raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

        picture(tmp_path / "a.png")
        mask(tmp_path / "m.png")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PAINTMQ_BROKER__PORT", "1")
        monkeypatch.setattr("tempfile.gettempdir", refuse)

        status = app.run_command_line(["run", "opencv", "a.png", "-m", "m.png", "-o", "o.png"])

        assert status == 2
        assert capsys.readouterr().err == (
            "error: no temporary folder can be written, and models need one: set TMPDIR to one\n"
        )


class TestWhatNobodyForesaw:
    @pytest.mark.parametrize(
        ("error", "line"),
        [
            (RuntimeError("first\nsecond"), "unexpected RuntimeError: first second"),
            (PermissionError(13, "Permission denied", "x.toml"), "x.toml: Permission denied"),
            (MemoryError(), "unexpected MemoryError (PAINTMQ_LOG=debug"),
        ],
    )
    def test_it_is_one_line_and_status_1(
        self,
        command: CommandLine,
        monkeypatch: pytest.MonkeyPatch,
        error: Exception,
        line: str,
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr("paintmq.cli.image_jobs.plan_jobs", fail)
        monkeypatch.setattr("paintmq.cli.picture_files.find_pictures", fail)

        done = command.paint("a.png", "-m", "m.png")

        assert done.status == 1
        assert len(done.err.splitlines()) == 1
        assert done.errors[0].startswith(line)


def shell(line: str, tmp_path: Path) -> "subprocess.CompletedProcess[str]":
    paintmq_command = f"{sys.executable} -P -m paintmq"
    return subprocess.run(
        ["bash", "-c", line.replace("paintmq ", f"{paintmq_command} ", 1)],
        env=private_environment(tmp_path / "home"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
class TestStandardStreams:
    @pytest.mark.parametrize("arguments", ["models list", "config", "--help", "models list --json"])
    def test_a_full_disk_behind_stdout_is_one_line_and_status_1(
        self, tmp_path: Path, arguments: str
    ) -> None:
        done = shell(f"paintmq {arguments} > /dev/full", tmp_path)

        assert done.returncode == 1
        assert done.stderr == ("error: cannot write to standard output: No space left on device\n")

    @pytest.mark.parametrize(
        "arguments", ["models list --json", "models list", "config", "--help", "run --help"]
    )
    def test_a_reader_that_has_left_is_status_141_without_a_word(
        self, tmp_path: Path, arguments: str
    ) -> None:
        done = shell(f"paintmq {arguments} | true; exit ${{PIPESTATUS[0]}}", tmp_path)

        assert (done.returncode, done.stderr) in [(141, ""), (0, "")]

    @pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
    def test_closed_streams_hinder_nothing(self, tmp_path: Path, closed: str) -> None:
        picture(tmp_path / "a.png")
        mask(tmp_path / "m.png")

        done = shell(f"paintmq run opencv a.png -m m.png -o o.png {closed}", tmp_path)

        assert done.returncode == 0
        assert names_in(tmp_path)[-1] == "o.png"

    def test_a_name_that_is_not_utf_8_is_printed_in_any_locale(self, tmp_path: Path) -> None:
        name = os.fsdecode(b"caf\xe9.png")
        picture(tmp_path / name)
        mask(tmp_path / "m.png")

        done = shell("LC_ALL=C PYTHONUTF8=0 paintmq run opencv caf*.png -m m.png -o out", tmp_path)

        assert (done.returncode, done.stderr) == (0, "")


class TestTerminals:
    def test_sighup_with_a_terminal_that_is_still_there_asks_for_a_reload(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(signals, "_is_terminal_there", lambda: True)
        with Signals() as caught:
            signal.raise_signal(signal.SIGHUP)

            assert caught.wait() is signal.SIGHUP
            assert not caught.terminal_closed

    def test_sighup_without_a_terminal_asks_for_a_reload(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(signals, "_is_terminal_there", lambda: False)
        with Signals() as caught:
            signal.raise_signal(signal.SIGHUP)

            assert caught.wait() is signal.SIGHUP

    def test_a_terminal_that_was_closed_asks_to_stop(self, monkeypatch: pytest.MonkeyPatch) -> None:
        there = iter([True, False])
        monkeypatch.setattr(signals, "_is_terminal_there", lambda: next(there))
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        with Signals() as caught:
            signal.raise_signal(signal.SIGHUP)

            assert caught.wait() is signal.SIGTERM
            assert caught.terminal_closed
        assert before == {number: signal.getsignal(number) for number in before}

    def test_the_first_process_of_a_container_ends_at_the_second_signal(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ended: list[int] = []
        monkeypatch.setattr(os, "getpid", lambda: 1)
        monkeypatch.setattr(os, "_exit", ended.append)
        with Signals() as caught:
            signal.raise_signal(signal.SIGTERM)
            caught.wait()
            signal.raise_signal(signal.SIGTERM)

        assert ended == [143]

    @pytest.mark.slow
    def test_a_service_stops_in_order_when_its_terminal_is_closed(self, tmp_path: Path) -> None:
        environment = private_environment(tmp_path, PAINTMQ_BROKER__PORT="0")
        child, terminal = pty.fork()
        if child == 0:
            command = [sys.executable, "-P", "-m", "paintmq", "broker"]
            os.execve(sys.executable, command, environment)
        said = b""
        while b"journal" not in said:
            said += os.read(terminal, 4096)
        os.close(terminal)

        _, status = os.waitpid(child, 0)

        assert os.waitstatus_to_exitcode(status) == 129


class TestSuspension:
    def test_what_was_cancelled_while_the_command_stood_still_is_submitted_again(
        self, command: CommandLine
    ) -> None:
        def act(task: Task) -> dict[str, Any]:
            if len(command.session.tasks) == 2:
                signal.raise_signal(signal.SIGCONT)
                raise TaskCancelledError(
                    task.id, TaskState.CANCELLED, "cancelled", "it fell silent"
                )
            return {"image": task.inputs["image"]}

        command.session.act = act
        for number in range(3):
            picture(command.folder / "in" / f"{number}.png")

        done = command.paint("in", "-m", mask(command.folder / "m.png"), "-o", "out")

        assert (done.status, done.errors) == (0, [])
        assert names_in(command.folder / "out") == ["0.png", "1.png", "2.png"]

    def test_what_was_cancelled_on_purpose_stays_cancelled(self, command: CommandLine) -> None:
        def act(task: Task) -> dict[str, Any]:
            raise TaskCancelledError(task.id, TaskState.CANCELLED, "cancelled", "was cancelled")

        command.session.act = act
        picture(command.folder / "a.png")

        done = command.paint("a.png", "-m", mask(command.folder / "m.png"), "-o", "o.png")

        assert (done.status, done.errors) == (1, ["a.png: was cancelled"])
        assert len(command.session.tasks) == 1


class TestSystems:
    def test_windows_is_told_in_one_line(self) -> None:
        assert system_objection("posix", "darwin") == ""
        assert system_objection("nt", "win32") == (
            "PaintMQ runs on Linux and macOS, and this is win32: use Linux in WSL 2 or a container"
        )

    @pytest.mark.slow
    def test_a_system_without_what_linux_alone_has_still_works(self, tmp_path: Path) -> None:
        """As on a Mac: the calls that are missing there are missing here."""
        path = tmp_path / "mac"
        path.mkdir()
        (path / "sitecustomize.py").write_text(
            "import os\n"
            "for name in ('pipe2', 'posix_fallocate', 'posix_fadvise', 'pidfd_open', 'eventfd',\n"
            "             'sched_getaffinity', 'memfd_create'):\n"
            "    if hasattr(os, name):\n"
            "        delattr(os, name)\n"
        )
        picture(tmp_path / "a.png")
        mask(tmp_path / "m.png")
        environment = private_environment(tmp_path / "home", PYTHONPATH=str(path))

        done = run_command(
            *("run", "opencv", "a.png", "-m", "m.png", "-o", "o.png"),
            environment=environment,
            cwd=tmp_path,
        )

        assert (done.returncode, done.stderr) == (0, "")

    def test_the_library_says_it_too(
        self, monkeypatch: pytest.MonkeyPatch, unimported: None
    ) -> None:
        monkeypatch.setattr("paintmq.platforms.system_objection", lambda: "this is win32")
        monkeypatch.setitem(sys.modules, "paintmq.client.client", None)

        with pytest.raises(ImportError, match="this is win32"):
            _ = paintmq.Client

    @pytest.fixture
    def unimported(self) -> Iterator[None]:
        before = vars(paintmq).pop("Client", None)
        yield
        if before is not None:
            vars(paintmq)["Client"] = before

    def test_the_command_says_it_before_it_imports_anything_else(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("paintmq.platforms.system_objection", lambda: "this is win32")
        monkeypatch.setitem(sys.modules, "paintmq.cli.app", None)

        with pytest.raises(SystemExit, match="error: this is win32"):
            main()


@pytest.mark.slow
class TestOtherUsers:
    """In namespaces of the kernel, which need no rights where they are allowed at all."""

    def run_as(self, tmp_path: Path, *namespace: str, script: str) -> CompletedProcess[str]:
        picture(tmp_path / "a.png")
        mask(tmp_path / "m.png")
        program = ["unshare", *namespace]
        if which("unshare") is None or subprocess.run([*program, "true"], check=False).returncode:
            pytest.skip("this system allows no such namespace")
        command = f"{shlex.quote(sys.executable)} -P -m paintmq"
        return subprocess.run(
            [*program, "bash", "-c", script.replace("PAINTMQ", command)],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def test_a_user_id_that_nobody_has_and_no_home_hinder_no_picture(self, tmp_path: Path) -> None:
        user = ("-U", "--map-user=12345", "--map-group=12345")

        done = self.run_as(tmp_path, *user, script="PAINTMQ run opencv a.png -m m.png -o o.png")

        assert (done.returncode, names_in(tmp_path)) == (0, ["a.png", "m.png", "o.png"])
        assert "Traceback" not in done.stderr

    def test_a_read_only_system_is_told_with_what_to_set(self, tmp_path: Path) -> None:
        read_only = "mount --make-rprivate / && mount -o remount,ro,bind / &&"
        tried = f"{read_only} PAINTMQ run opencv a.png -m m.png -o o.png"

        done = self.run_as(tmp_path, "-r", "-m", script=tried)

        if "mount:" in done.stderr or (tmp_path / "o.png").exists():
            pytest.skip("nothing can be made read-only here, or the test's folder is elsewhere")
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: ")
        assert "TMPDIR" in line or "name another with -o" in line
