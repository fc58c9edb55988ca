"""Other people's folders are not trusted, nor is another user's broker."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.harness.command_process import private_environment, run_command
from tests.harness.instant_session import CommandLine
from tests.harness.sample_pictures import mask, picture

from paintmq.cli import common_options, listener_owner
from paintmq.cli.listener_owner import is_trusted, listener_uid
from paintmq.config import Config
from paintmq.errors import ConfigError
from paintmq.interpreter import HOST_VARIABLE, interpreter, module_path
from paintmq.launching import NodeOrder
from paintmq.settings.file import FILE_VARIABLE, load_settings

PICTURES_FOLDER = """
[node]
launcher = "process"
options = { program = ["sh", "-c", "touch pwned"] }
[broker]
host = "127.0.0.9"
record = "important.txt"
[weights]
trusted_torchscript = ["00"]
[http]
token_file = "token"
[plugins]
allow = ["evil"]
[queues.cpu-light]
capacity = 7
"""


class TestSettingsInTheCurrentFolder:
    def test_only_harmless_sections_count_unless_the_file_is_named(
        self, command: CommandLine
    ) -> None:
        file = command.folder / "paintmq.toml"
        file.write_text(PICTURES_FOLDER)

        unasked = load_settings(environ={})

        assert unasked.config.queues["cpu-light"].capacity == 7
        assert unasked.config.node == Config().node
        assert unasked.config.broker == Config().broker
        assert unasked.ignored == (
            *("node.launcher", "node.options", "broker.host", "broker.record"),
            *("weights.trusted_torchscript", "http.token_file", "plugins.allow"),
        )
        for named in (load_settings(file, {}), load_settings(environ={FILE_VARIABLE: str(file)})):
            assert named.config.broker.host == "127.0.0.9"
            assert named.ignored == ()

    def test_the_users_own_file_counts_whole_even_from_its_folder(
        self, command: CommandLine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own = command.folder / "config" / "paintmq"
        own.mkdir(parents=True)
        (own / "paintmq.toml").write_text("[broker]\nport = 6000\n")
        monkeypatch.chdir(own)

        settings = load_settings(environ={})

        assert (settings.config.broker.port, settings.ignored) == (6000, ())

    def test_an_unknown_section_is_still_refused_by_name(self, command: CommandLine) -> None:
        (command.folder / "paintmq.toml").write_text("[brokr]\nport = 1\n")

        with pytest.raises(ConfigError, match="brokr"):
            load_settings(environ={})

    def test_the_file_that_was_read_and_what_was_ignored_is_told_once(
        self, command: CommandLine
    ) -> None:
        picture(command.folder / "a.png")
        (command.folder / "paintmq.toml").write_text(PICTURES_FOLDER)

        done = command.paint("a.png", "-m", mask(command.folder / "m.png"), "-o", "o.png")

        assert done.status == 0
        assert done.notes[0] == "settings from paintmq.toml in the current folder"
        assert "node.launcher, node.options, broker.host" in done.notes[1]
        assert len(done.notes) == 2

    @pytest.mark.parametrize("service", [["up"], ["broker"], ["node", "--connect", "h:1"]])
    def test_a_service_refuses_to_run_without_what_such_a_file_says(
        self, command: CommandLine, service: list[str]
    ) -> None:
        (command.folder / "paintmq.toml").write_text('[broker]\nkeys = "keys"\n')

        done = command(*service)

        assert done.status == 2
        assert "broker.keys counts only in a file that you name" in done.errors[0]
        assert done.errors[0].endswith("name the file: -c paintmq.toml")


class TestModulesInTheCurrentFolder:
    def test_every_interpreter_is_started_without_the_current_folder(self) -> None:
        order = NodeOrder(name="n", number=0, arguments=("node",), environment={})

        assert interpreter() == (sys.executable, "-P")
        assert order.command == (sys.executable, "-P", "-m", "paintmq", "node")

    def test_the_path_of_an_interactive_python_is_passed_on(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", ["", "/elsewhere"])

        assert module_path() == (str(tmp_path), "/elsewhere")

    @pytest.mark.slow
    @pytest.mark.parametrize("module", ["queue", "cv2", "numpy"])
    def test_a_file_beside_the_pictures_is_not_run(self, tmp_path: Path, module: str) -> None:
        picture(tmp_path / "a.png")
        mask(tmp_path / "m.png")
        (tmp_path / f"{module}.py").write_text("open('pwned', 'w')")
        environment = private_environment(tmp_path / "home")

        done = run_command(
            *("run", "opencv", "a.png", "-m", "m.png", "-o", "o.png"),
            environment=environment,
            cwd=tmp_path,
        )
        doctor = run_command("doctor", environment=environment, cwd=tmp_path)

        assert (done.returncode, done.stderr) == (0, "")
        assert "a process to run them in starts" in doctor.stdout
        assert not (tmp_path / "pwned").exists()


class TestProgramsThatAreNoInterpreter:
    @pytest.mark.parametrize("program", ["", None, "/usr/bin/uwsgi", "/opt/app/retouch"])
    def test_they_are_refused_in_one_sentence(
        self, monkeypatch: pytest.MonkeyPatch, program: str | None
    ) -> None:
        monkeypatch.setattr(sys, "executable", program)

        with pytest.raises(ConfigError, match="not a Python interpreter"):
            interpreter()

    def test_a_frozen_program_called_python_is_none_but_one_it_names_is(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        frozen = tmp_path / "python-painter"
        monkeypatch.setattr(sys, "frozen", True, raising=False)
        monkeypatch.setattr(sys, "argv", [str(frozen)])

        monkeypatch.setattr(sys, "executable", str(frozen))
        with pytest.raises(ConfigError, match="not a Python interpreter"):
            interpreter()
        monkeypatch.setattr(sys, "executable", "/opt/python3.11")
        assert interpreter() == ("/opt/python3.11", "-P")

    def test_a_program_that_was_started_as_a_model_host_starts_no_further_ones(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(HOST_VARIABLE, "1234")

        with pytest.raises(ConfigError, match="as the model host of process 1234"):
            interpreter()

    @pytest.mark.slow
    def test_a_frozen_program_that_embeds_a_manager_is_told_at_its_start(
        self, tmp_path: Path
    ) -> None:
        code = (
            "import sys; sys.executable = '/opt/app/retouch'\n"
            "from paintmq import Config, QueueManager\n"
            "from paintmq.cli.common_options import on_free_ports\n"
            "QueueManager(on_free_ports(Config())).start()\n"
        )

        done = subprocess.run(
            [sys.executable, "-c", code],
            env=private_environment(tmp_path),
            capture_output=True,
            text=True,
            check=False,
        )

        assert done.returncode == 1
        assert "ConfigError: sys.executable is '/opt/app/retouch'" in done.stderr


TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:15AE 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 1 1
   1: 0100007F:15AF 00000000:0000 01 00000000:00000000 00:00000000 00000000  1002        0 1 1
"""


class TestAnotherUsersBroker:
    def test_the_user_behind_a_listening_port_is_known(self, tmp_path: Path) -> None:
        table = tmp_path / "tcp"
        table.write_text(TABLE)

        assert listener_uid(5550, (tmp_path / "missing", table)) == 1001
        assert listener_uid(5551, (table,)) is None

    def test_our_own_and_roots_are_trusted(self) -> None:
        assert is_trusted(os.getuid())
        assert is_trusted(0)
        assert not is_trusted(os.getuid() + 1)

    @pytest.fixture
    def _stranger(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(listener_owner, "listener_uid", lambda port: os.getuid() + 4711)

    @pytest.mark.usefixtures("_stranger")
    def test_it_is_not_used_unless_it_is_named(self, command: CommandLine) -> None:
        done = command("status")

        assert done.status == 2
        assert (
            f"the broker at tcp://127.0.0.1:5550 belongs to user {os.getuid() + 4711}" in done.err
        )
        assert "--connect tcp://127.0.0.1:5550 uses it all the same" in done.err

    @pytest.mark.usefixtures("_stranger")
    def test_settings_that_name_it_are_heeded(self, command: CommandLine) -> None:
        file = command.folder / "named.toml"
        file.write_text("[broker]\nport = 5550\n")

        assert common_options.strangers_broker(load_settings(environ={}))
        assert not common_options.strangers_broker(load_settings(file, {}))
