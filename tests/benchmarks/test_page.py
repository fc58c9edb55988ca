"""The pages of benchmarks: new figures, kept notes."""

from tests.benchmarks.page import page_text

OLD = """# A title of its own

`python -m tests.benchmarks.old`, long ago

| a | b |
| --- | --- |
| 1 | 2 |

## Notes

What the figures mean.

### More

And more.
"""


def test_new_figures_replace_old_ones_and_leave_title_and_notes() -> None:
    page = page_text(OLD, summary="unused", command="python x --seconds 3", lines="| c |\n| 3 |\n")

    title, _, rest = page.partition("\n")
    figures, _, notes = rest.partition("\n## Notes\n")
    assert title == "# A title of its own"
    assert "`python x --seconds 3`, 20" in figures
    assert figures.endswith("\n\n| c |\n| 3 |\n")
    assert "| a |" not in page
    assert notes == OLD.partition("\n## Notes\n")[2]


def test_a_first_page_is_called_by_its_script_and_has_no_notes() -> None:
    page = page_text("", summary="What it costs.", command="python x", lines="one line\nanother\n")

    assert page.startswith("# What it costs.\n")
    assert page.endswith("\n\n```\none line\nanother\n```\n")


def test_tables_stand_outside_of_what_was_printed_otherwise() -> None:
    page = page_text("", summary="s", command="c", lines="before\n| a |\n| 1 |\nafter\n")

    assert page.endswith("```\nbefore\n```\n| a |\n| 1 |\n```\nafter\n```\n")
