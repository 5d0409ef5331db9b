"""The site: every page has its place, every public name its entry, and the tutorial runs."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gennas_optuna import cli

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
PAGES = sorted(DOCS.rglob("*.md"))


def pages_of(nav: Any) -> Iterator[str]:
    """The pages of a navigation, however deep."""
    if isinstance(nav, str):
        yield nav
    else:
        for item in nav.values() if isinstance(nav, dict) else nav:
            yield from pages_of(item)


def test_every_page_is_in_the_navigation_once() -> None:
    assert sorted(pages_of(SITE["nav"])) == sorted(str(page.relative_to(DOCS)) for page in PAGES)


# The reference --------------------------------------------------------------------------------


def public_names() -> list[tuple[str, str]]:
    """(package, name) of all that stands in an ``__all__`` of a module without underscore."""
    found = []
    for package in ("gennas_optuna", "nni_strategy"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.stem.startswith("_") and path.stem != "__init__":
                continue
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                    found += [(package, name) for name in ast.literal_eval(node.value)]
    return found


def test_every_public_name_is_in_the_reference() -> None:
    entries = re.findall(r"^::: (\S+)$", (DOCS / "reference.md").read_text(), re.MULTILINE)
    assert len(entries) == len(set(entries))
    there = {(entry.split(".")[0], entry.split(".")[-1]) for entry in entries}
    names = public_names()
    assert ("gennas_optuna", "score") in names
    assert ("nni_strategy", "OptunaTuner") in names
    assert not set(names) - there


def test_every_entry_of_the_reference_is_there_and_has_a_docstring() -> None:
    for entry in re.findall(r"^::: (\S+)$", (DOCS / "reference.md").read_text(), re.MULTILINE):
        module, _, name = entry.rpartition(".")
        assert docstring(module, name), entry


def docstring(module: str, name: str) -> str | None:
    """Of a class or function, found as a reader would: without importing anything."""
    base = ROOT / Path(*module.split("."))
    path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
            return ast.get_docstring(node)
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return docstring(node.module, alias.name)
    return None


# Links ----------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as Markdown's ``toc`` makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    words = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    entries = re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", heading) for heading in words} | set(entries)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere_in_the_site(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = page if not name else (page.parent / name).resolve()
        assert target.is_relative_to(DOCS), link  # the site has nothing else
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_links_to_pages_that_are_there() -> None:
    links = re.findall(r"\]\((docs/[^)#\s]+)", (ROOT / "README.md").read_text())
    assert "docs/tutorial.md" in links
    for link in links:
        assert (ROOT / link).is_file(), link


@pytest.mark.slow
def test_mkdocs_builds_the_site_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason='needs pip install ".[docs]"')
    pytest.importorskip("mkdocstrings", reason='needs pip install ".[docs]"')
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "reference.html").read_text()
    for package, name in public_names():
        assert re.search(rf'id="{package}[\w.]*\.{name}"', reference), name
    assert not re.search(r":(func|class|meth|data|mod|attr):<code>", reference)


# The tutorial, scaled down --------------------------------------------------------------------

TUTORIAL = (DOCS / "tutorial.md").read_text()
SCALE = {r"--samples \d+": "--samples 4", r"--trials \d+": "--trials 12", "--workers 2": ""}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TUTORIAL, re.DOTALL)


def commands() -> list[str]:
    """The tutorial's commands, each on one line."""
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip()]


def run(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a command, and write its output to the file after ``>``."""
    for pattern, small in SCALE.items():
        command = re.sub(pattern, small, command)
    words = shlex.split(command, comments=True)
    target = None
    if ">" in words:
        words, target = words[: words.index(">")], words[-1]
    assert words[0] == "gennas", command
    if "--preset" in words:
        words += ["--steps", "1"]
    monkeypatch.setattr(sys, "argv", words)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        cli.main()
    if target is not None:
        Path(target).write_text(out.getvalue())


@pytest.mark.slow
def test_the_commands_of_the_tutorial_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    given = commands()
    assert len(given) >= 8
    for command in given:
        if not command.startswith("pip install"):
            run(command, monkeypatch)
    named = re.findall(r"--out (\S+)", TUTORIAL)
    assert named
    for name in named:
        assert (tmp_path / name).stat().st_size > 0


@pytest.mark.slow
def test_the_code_of_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks("python"))
    assert code.count("import") >= 3
    small = re.sub(r"n_trials=\d+", "n_trials=2", code)
    assert small != code
    exec(compile(small, "tutorial.md", "exec"), {"__name__": "tutorial"})
