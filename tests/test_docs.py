"""The documentation: navigation, links and anchors, commands and options that exist, and the site where it can be built."""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from securitynet import cli

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "CHANGELOG.md", *PAGES]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_page_is_in_the_navigation_once() -> None:
    named = re.findall(r": ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named) == [page.name for page in PAGES]


def anchors(page: Path) -> set[str]:
    """The anchors of a page as GitHub and mkdocs make them of headings."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"`[^`]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name) if name else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{page.name}: {link}"


def commands() -> Iterator[tuple[str, str]]:
    """Every command of the documentation (test_contributing.py runs its own): in blocks of a shell, and in `code`."""
    for page in [ROOT / "README.md", *PAGES]:
        text = page.read_text(encoding="utf-8")
        for kind, block in FENCE.findall(text):
            if kind in ("bash", "sh", "", "text"):
                for line in block.replace("\\\n", " ").splitlines():
                    line = re.sub(r"^\s*(\w+=\S+ )*", "", line).removeprefix(".venv/bin/")
                    if line.startswith("securitynet "):
                        yield page.name, line.partition("  #")[0]
        for code in re.findall(r"`(securitynet [a-z][^`]*)`", FENCE.sub("", text)):
            yield page.name, code


def options_of(words: list[str]) -> set[str]:
    """The options of the command that `words` name."""
    found: argparse.ArgumentParser = cli.parser()
    known = set(found._option_string_actions)
    for word in words:
        choices = next((action.choices for action in found._actions if isinstance(action, argparse._SubParsersAction)), None)
        if choices and word in choices:
            found = choices[word]
            known |= set(found._option_string_actions)
    return known


def test_commands_and_their_options_exist() -> None:
    found = list(commands())
    assert len(found) > 100
    parser = cli.parser()
    top = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction)).choices
    for page, line in found:
        try:
            words = shlex.split(re.split(r" [|>;&]|\)$", line)[0])[1:]
        except ValueError:
            continue  # a quotation that goes on elsewhere
        if not words or not re.fullmatch(r"[a-z]+", words[0]):
            continue
        names = words[0].split("/")
        assert all(name in top for name in names), f"{page}: {line}"
        used = {word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)}
        assert used <= options_of(words), f"{page}: {line}: {used - options_of(words)}"


@pytest.mark.slow
def test_the_tour_in_python_runs(tmp_path: Path) -> None:
    (block,) = [block for kind, block in FENCE.findall((ROOT / "docs" / "tour.md").read_text(encoding="utf-8")) if kind == "python"]
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "Result('builtin/digits-overfit'" in done.stdout, done.stderr[-1000:]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="mkdocs is not installed (securitynet[docs])")
def test_the_site_builds(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "site" / "tour" / "index.html").is_file()
