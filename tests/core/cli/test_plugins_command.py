"""What ``paintmq plugins`` tells."""

import json
import re
import sys
from pathlib import Path

import pytest
from tests.harness.written_distribution import write_distribution

from paintmq.cli.app import run_command_line
from paintmq.cli.failures import CommandError
from paintmq.cli.plugin_check import Candidate, contract_tests, find_candidates
from paintmq.model import API_VERSION


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run where no paintmq.toml lies, with a plugin that cannot be used and a small one."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    write_distribution(
        tmp_path / "site",
        "paintmq-bad",
        version="3.2",
        entry_points={"bad": "no_such_module_of_bad", "tiny": "tiny_of_test:plugin"},
        files={
            "tiny_of_test.py": """
            print("a plugin that talks while it loads")

            class Plugin:
                def paintmq_events(self, batch): pass
            plugin = Plugin()
            """
        },
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, "tiny_of_test", raising=False)


def test_the_list_names_each_with_its_state_and_says_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command_line(["plugins"]) == 0

    out, err = capsys.readouterr()
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert lines["opencv"].split()[1:] == ["paintmq", "0.1.0", "ready", "model", "opencv"]
    assert lines["tiny"].split()[1:] == ["paintmq-bad", "3.2", "ready", "events"]
    assert "set aside" in lines["bad"]
    assert "bad (paintmq-bad 3.2) is set aside: ModuleNotFoundError" in err
    assert " ms" not in out


def test_timings_are_shown_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["plugins", "--timings"]) == 0

    assert " ms" in capsys.readouterr().out


def test_programs_get_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["plugins", "--json"]) == 0

    answer = json.loads(capsys.readouterr().out)
    assert answer["model_interface"]["newest"] == API_VERSION
    (bad,) = [plugin for plugin in answer["plugins"] if plugin["name"] == "bad"]
    assert bad["state"] == "set aside"
    assert "no_such_module_of_bad" in bad["reason"]


def test_settings_decide_and_names_that_match_nothing_are_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    settings = tmp_path / "paintmq.toml"
    settings.write_text('[plugins]\ndisable = ["opencv", "opnecv"]\n', encoding="utf-8")

    assert run_command_line(["plugins", "--config", str(settings)]) == 0

    out, err = capsys.readouterr()
    (line,) = [line for line in out.splitlines() if line.startswith("opencv")]
    assert "disabled" in line
    assert "'opnecv' matches no installed plugin" in err


def test_variables_of_the_environment_decide_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAINTMQ_PLUGINS__ALLOW", '["tiny"]')

    assert run_command_line(["plugins", "--json"]) == 0

    plugins = json.loads(capsys.readouterr().out)["plugins"]
    assert [p["name"] for p in plugins if p["state"] == "ready"] == ["tiny"]


def test_a_name_a_file_and_a_project_can_be_checked(tmp_path: Path) -> None:
    (tmp_path / "alone.py").touch()
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / "pyproject.toml").write_text(
        '[project.entry-points.paintmq]\nx = "package.manifest"\n', encoding="utf-8"
    )

    assert find_candidates("opencv") == [Candidate("paintmq_plugins.opencv")]
    assert find_candidates(str(tmp_path / "alone.py")) == [Candidate("alone", tmp_path)]
    assert find_candidates(str(project)) == [Candidate("package.manifest", project / "src")]


def test_what_cannot_be_checked_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no such folder, file or installed plugin"):
        find_candidates("nothing-like-it")
    with pytest.raises(CommandError, match=r"it has no pyproject\.toml"):
        find_candidates(str(tmp_path))
    (tmp_path / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    with pytest.raises(CommandError, match=r"no \[project\.entry-points\.paintmq\]"):
        find_candidates(str(tmp_path))
    with pytest.raises(CommandError, match="no_such_module_of_bad cannot be loaded"):
        contract_tests(Candidate("no_such_module_of_bad"))


def test_every_model_and_router_of_a_plugin_gets_its_tests() -> None:
    (model,) = contract_tests(Candidate("paintmq_plugins.opencv"))
    (router,) = contract_tests(Candidate("paintmq_routers.least_loaded"))
    (other,) = contract_tests(Candidate("paintmq_plugins.process_launcher"))

    assert model.title == "model opencv (paintmq_plugins.opencv)"
    assert model.source == (
        "class TestModel_opencv(ModelContract):\n"
        "    plugin = 'paintmq_plugins.opencv'\n"
        "    model = 'opencv'\n"
    )
    assert "class TestRouter_least_loaded(RouterContract):" in router.source
    assert "(PluginContract)" in other.source


@pytest.mark.parametrize("fault", ["raise KeyboardInterrupt", "import sys; sys.exit(7)", "1 / 0"])
def test_a_plugin_that_cannot_be_loaded_is_refused_in_words(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "faulty_of_test.py").write_text(fault, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(CommandError, match=r"faulty_of_test cannot be loaded: .*(Keyb|exit|Zero)"):
        contract_tests(Candidate("faulty_of_test"))


SLOPPY = """
from paintmq.model import Model, ModelSpec

class Plugin:
    def paintmq_register_models(self, register):
        register(ModelSpec(name="sloppy", implementation="sloppy_of_test:Sloppy"))

class Sloppy(Model):
    def load(self, device): raise MemoryError("no room for it")
    def run(self, batch, context): return []
"""


@pytest.mark.slow
def test_a_check_says_rule_by_rule_what_was_broken_and_how(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", [*sys.path])
    (tmp_path / "sloppy_of_test.py").write_text(SLOPPY, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(
        '[project.entry-points.paintmq]\nsloppy = "sloppy_of_test:Plugin"\n', encoding="utf-8"
    )

    status = run_command_line(["plugins", "check", str(tmp_path)])

    lines = capfd.readouterr().out.splitlines()
    assert status == 1
    assert lines[1] == "model sloppy (sloppy_of_test:Plugin)"
    assert "  ok       the manifest is light" in lines
    said = lines.index("  FAILED   the spec describes itself")
    assert lines[said + 1] == "           sloppy has no summary for `paintmq models list`"
    assert lines.count("           MemoryError: no room for it") == 1
    assert "           as above" in lines
    assert re.fullmatch(r"\d+ rules: \d+ passed, \d+ failed", lines[-1])
    assert not any("Traceback" in line or "site-packages" in line for line in lines)
