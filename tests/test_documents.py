"""What the documents name exists: files and headings linked to, paths, commands, options, settings.

Words in back quotes are looked at, and lines of code blocks that begin with ``paintmq``.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import typer

from paintmq.cli.app import make_app
from paintmq.config import Config, RouterConfig
from paintmq.plugin.manager import PluginManager
from paintmq.settings.file import load_config
from tests import reference_tables

ROOT = Path(__file__).parents[1]
FOLDERS = ("core", "plugins", "routers", "tests", "examples")
PAGES = sorted(
    [*ROOT.glob("*.md"), *(page for at in FOLDERS for page in (ROOT / at).rglob("*.md"))]
)
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

FENCED = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^ *(?:PAINTMQ_\w+=\S+ )*paintmq (.*?)(?: +#.*)?$", re.MULTILINE)
"""In a code block, fenced or indented, with what is said beside it cut off."""


def spans(text: str) -> list[str]:
    """Return what stands in back quotes outside code blocks."""
    return re.findall(r"`([^`\n]+)`", FENCED.sub("", text))


def anchors(page: Path) -> set[str]:
    """Return the names by which GitHub lets one link to a page's headings."""
    titles = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name: str) -> None:
    page = ROOT / name
    for link in re.findall(r"\]\(([^)]+)\)", FENCED.sub("", page.read_text("utf-8"))):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page

        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("name", NAMES)
def test_every_path_that_is_named_exists(name: str) -> None:
    """It may begin at any folder: ``broker/machine/machine.py``."""
    files = [*ROOT.glob("*.md"), *(path for at in FOLDERS for path in (ROOT / at).rglob("*"))]
    there = [f"/{path.relative_to(ROOT)}" for path in files]
    named = re.compile(r"[\w./-]+\.(py|md)|(core|tests|plugins|routers|examples)/[\w./-]+")
    for path in spans((ROOT / name).read_text("utf-8")):
        if named.fullmatch(path):
            assert any(each.endswith(f"/{path.strip('/')}") for each in there), path


def test_every_invariant_is_found_in_the_tests_named_for_it() -> None:
    page = (ROOT / "core/README.md").read_text("utf-8").partition("## Invariants")[2]
    rows = re.findall(r"^\| (I\d[I\d, ]*) \| .* \| (.*) \|$", page, re.MULTILINE)
    places_of = {"oracle": ["tests/harness/simulation", "core/paintmq/broker"]}
    places_of["state machine"] = ["tests/core/broker/machine/test_machine_stateful.py"]
    for numbers, tests in rows:
        expected, found = set(numbers.split(", ")), set[str]()
        for named in re.findall(r"oracle|state machine|[\w/]+\.py", tests):
            places = places_of.get(named, [f"tests/core/{named}", f"tests/{named}"])
            marks = expected & set(re.findall(r"\bI\d+\b", all_text(places)))

            assert marks, f"{named} holds none of {numbers}"
            found |= marks
        assert found == expected, f"{numbers}: only {found} in the tests that are named"
    assert len({number for numbers, _ in rows for number in numbers.split(", ")}) == 25


def all_text(places: list[str]) -> str:
    found = [file for place in places for file in (ROOT / place).rglob("*.py")]
    files = [*found, *(ROOT / place for place in places if (ROOT / place).is_file())]
    return "".join(file.read_text("utf-8") for file in files)


def commands_in(text: str) -> Iterator[str]:
    for span in spans(text):
        if span.startswith("paintmq "):
            yield span.removeprefix("paintmq ")
    yield from COMMAND.findall(text)


@pytest.fixture(scope="module")
def commands() -> Any:
    return typer.main.get_command(make_app())


@pytest.mark.parametrize("name", NAMES)
def test_every_command_and_option_that_is_named_exists(name: str, commands: Any) -> None:
    for line in commands_in((ROOT / name).read_text("utf-8")):
        parts = re.sub(r"\[(.*?)\]", r"\1", line).split()
        command = commands
        while parts and parts[0] in getattr(command, "commands", {}):
            command = command.commands[parts.pop(0)]
        known = {opt for parameter in command.params for opt in parameter.opts} | {"--help"}
        named = {word.rstrip(",") for word in parts if re.match(r"-{1,2}[a-zA-Z]", word)}

        assert command is not commands or parts[0] in ("--help", "--version"), line
        assert named <= known, line


def test_every_command_is_described_somewhere(commands: Any) -> None:
    pages = ("README.md", "core/OPERATING.md", "plugins/README.md", "routers/README.md")
    named = {line.split()[0] for page in pages for line in commands_in((ROOT / page).read_text())}

    assert set(commands.commands) <= named


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_that_is_named_exists(name: str) -> None:
    sections = {field.name: field.type for field in attrs.fields(Config)}
    for span in spans((ROOT / name).read_text("utf-8")):
        match = re.match(rf"({'|'.join(sections)})\.(\w+)(?: = |$)", span)
        if match is None or match[2] in ("py", "md", "toml"):
            continue
        section: Any = sections[match[1]]

        assert match[1] == "queues" or match[2] in attrs.fields_dict(section), span


@pytest.mark.parametrize("name", ["README.md", "routers/README.md", "CHANGELOG.md"])
def test_the_default_router_is_called_so(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")

    assert re.findall(r"`?([\w-]+)`? \((?:the )?default\)", text) == [RouterConfig().name]


def test_settings_that_are_shown_can_be_read(tmp_path: Path) -> None:
    shown = re.findall(r"```toml\n(.*?)```", (ROOT / "core/OPERATING.md").read_text(), re.DOTALL)
    file = tmp_path / "paintmq.toml"
    for block in shown:
        file.write_text(block, encoding="utf-8")
        load_config(file, {})

    assert shown


VARIABLE = re.compile(r"\b(PAINTMQ_[A-Z_]+__[A-Z_]+)=('[^']*'|[^\s,`]+)")


@pytest.mark.parametrize("name", NAMES)
def test_variables_that_are_shown_are_accepted(name: str) -> None:
    shown = dict(VARIABLE.findall((ROOT / name).read_text("utf-8")))
    environ = {variable: value.strip("'") for variable, value in shown.items()}
    config = load_config(None, environ)

    PluginManager.installed().make_router(config.router)


@pytest.mark.parametrize("page", reference_tables.pages(), ids=lambda page: page.name)
def test_reference_tables_say_what_the_code_says(page: Path) -> None:
    text = page.read_text("utf-8")

    assert reference_tables.renewed(text) == text, "run python -m tests.reference_tables --write"


def test_every_reference_table_stands_on_one_page() -> None:
    texts = "".join(page.read_text("utf-8") for page in reference_tables.pages())
    placed = re.findall(r"<!-- reference: (.*) -->", texts)

    assert sorted(placed) == sorted(reference_tables.TABLES)


def test_every_decision_is_dated() -> None:
    decisions = (ROOT / "core/README.md").read_text("utf-8").partition("## Decisions")[2]
    entries = re.findall(r"^- .*", decisions, re.MULTILINE)
    dated = [entry for entry in entries if re.match(r"- 20\d\d-\d\d-\d\d \*\*", entry)]

    assert entries
    assert entries == dated
