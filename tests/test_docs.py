"""Links, commands and code of README and docs."""

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from vertebra.tools.arguments.command_line import read_words
from vertebra.tools.arguments.flag_names import refuse_unknown
from vertebra.tools.arguments.read_configs import read_configs
from vertebra.tools.main import COMMANDS, LIGHTNING

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(page):
    """Words of every `vertebra ...` command, in fenced blocks and in code spans."""
    text = page.read_text(encoding="utf-8")
    lines = "\n".join(blocks(page, "")).replace("\\\n", " ").splitlines()
    spans = [span.replace("\\|", "|") for span in re.findall(r"`(vertebra [^`\n]+)`", text)]
    return [shlex.split(line, comments=True)[1:] for line in (*lines, *spans) if line.startswith("vertebra ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        path, _, heading = target.partition("#")
        linked = (page.parent / path) if path else page
        assert linked.exists(), target
        if linked.suffix != ".md":
            assert not heading, target  # pictures and folders have none
            continue
        titles = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
        assert not heading or heading in anchors, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_their_recipes_exist(page):
    for words in commands(page):
        assert words[0] in COMMANDS or words[0] in ("--help", "--version"), words
        for flag, value in pairwise(words):
            if flag == "-c" and "/" in value and not value.startswith("runs/") and value.islower():
                assert (ROOT / "configs" / value).is_file(), value


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_compile_and_import_what_exists(page):
    for block in blocks(page, "python"):
        compile(block, page.name, "exec")
        for line in re.findall(r"^(?:from|import) vertebra.*$", block, re.MULTILINE):
            exec(line, {})  # the imports only: the examples have images of their own


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_flags_of_commands_exist(page):
    for words in commands(page):
        if words[0] in LIGHTNING:
            read = read_words(words[1:])
            names = [
                flag.value for flag in read.flags if flag.name == "-c" and (ROOT / "configs" / flag.value).is_file()
            ]
            refuse_unknown(read.flags, read_configs(ROOT / "configs" / name for name in names), ["--task", "--FLAG"])


def test_the_pages_have_commands():
    assert sum(len(commands(page)) for page in PAGES) > 20
