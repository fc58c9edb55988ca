"""``paintmq config`` prints what it would take to get the same settings again."""

from pathlib import Path

import attrs
import pytest
import tomli

from paintmq.cli.common_options import service_settings
from paintmq.config import Config
from paintmq.settings.file import load_config, load_settings
from paintmq.settings.toml_text import toml_lines

RICH = """
[broker]
host = "0.0.0.0"
insecure = true
journal = "a \\"quoted\\" path\\\\with\\tall \\u007f sorts ü"
[queues]
serverless = false
"my queue" = { port = 0, capacity = 3 }
[router]
name = "model-affinity"
parameters = { dial = 0.5, names = ["a", "b"], nested = { on = true, "odd key" = 1 } }
[workers]
count = 2
pinned = ["lama", "opencv"]
[plugins.settings.gateway]
port = 8080
[weights.paths]
"big-lama.pt" = "/models/big-lama.pt"
"""


def printed(tmp_path: Path, text: str, **variables: str) -> str:
    file = tmp_path / "paintmq.toml"
    file.write_text(text)
    return "\n".join(toml_lines(load_settings(file, variables)))


@pytest.mark.parametrize("text", ["", RICH])
def test_what_is_printed_gives_the_same_settings_when_it_is_read(tmp_path: Path, text: str) -> None:
    again = tmp_path / "again.toml"
    again.write_text(printed(tmp_path, text))

    assert load_config(again, {}) == load_config(tmp_path / "paintmq.toml", {})


def test_every_key_is_shown_with_its_help(tmp_path: Path) -> None:
    lines = printed(tmp_path, "").splitlines()

    for section in attrs.fields(Config):
        if section.name != "queues":
            for key in attrs.fields(type(getattr(Config(), section.name))):
                assert any(
                    line.removeprefix("# ").startswith(f"{key.name} =")
                    and key.metadata["help"] in line
                    for line in lines
                ), key.name


def test_a_value_that_was_set_says_by_whom(tmp_path: Path) -> None:
    text = printed(
        tmp_path,
        "[broker]\nport = 6000\n[router]\nparameters = {a = 1}",
        PAINTMQ_TIMERS__LEASE="99",
    )
    by = {
        line.split(" ")[0]: line.split("set by ")[1]
        for line in text.splitlines()
        if "set by" in line
    }

    file = str(tmp_path / "paintmq.toml")
    assert by == {"port": file, "parameters": file, "lease": "PAINTMQ_TIMERS__LEASE"}


def test_services_keep_what_they_accept_unless_told_otherwise(tmp_path: Path) -> None:
    (tmp_path / "paintmq.toml").write_text("")

    settings = service_settings(tmp_path / "paintmq.toml")

    assert tomli.loads("\n".join(toml_lines(settings)))["broker"]["durability"] == "full"
