"""The documentation is correct: commands and examples run, links and names exist, drawings match the current rules."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from snakemake_runs import copy_checkout, environment, snakemake

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
#: pages whose code blocks are run in order by other tests
WALKS = {"docs/own_data_and_methods.md", "docs/your_network.md", "docs/graphs_from_scratch.md"}
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *(ROOT / folder / "README.md" for folder in ("config", "results", "results/published", "benchmarks")),
    *sorted(DOCS.rglob("*.md")),
]
#: comments that mark a command as needing special hardware or hours; Snakemake can still plan such a run
ELSEWHERE = re.compile(r"needs (a GPU|GPUs)|\b(for|of|on) a cluster|takes hours")


def name(page):
    return page.relative_to(ROOT).as_posix()


def blocks(page, language):
    """Return (title, text) of each block of code in a language."""
    found = re.findall(rf'^( *)```{language}(?: title="(.+?)")?\n(.*?)^\1```$', page.read_text("utf-8"), re.M | re.S)
    return [(title, re.sub(f"^{indent}", "", text, flags=re.M)) for indent, title, text in found]


def commands():
    """Return each command of the pages once, with the first page that has it and whether it is marked ELSEWHERE."""
    found = {}
    for page in PAGES:
        if name(page) in WALKS:
            continue
        for _, text in blocks(page, "bash"):
            for line in text.splitlines():
                command, _, comment = re.split(r"(\s+# )", line + "  # ", maxsplit=1)
                found.setdefault((command.strip(), bool(ELSEWHERE.search(comment))), name(page))
    return [
        pytest.param(page, command, elsewhere, id=f"{page}: {command}") for (command, elsewhere), page in found.items()
    ]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what a clone has, with the files that pages ask the user to write."""
    folder = copy_checkout(tmp_path_factory.mktemp("documentation"))
    for other in ("Makefile", "pyproject.toml", "benchmarks"):
        (folder / other).symlink_to(ROOT / other)
    for page in PAGES:
        for title, text in blocks(page, "yaml"):
            if title:
                (folder / title).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.pipeline
@pytest.mark.parametrize(("page", "command", "elsewhere"), commands())
def test_commands_of_the_pages_run(page, command, elsewhere, checkout):
    """Snakemake plans, make prints; CI runs the demonstration and the tests."""
    words = shlex.split(command)
    if words[0] == "snakemake" and "profiles/kubernetes" not in words:
        done = snakemake(checkout, "-n", *words[1:], configs=())
        assert done.returncode == 0, done.stdout
    elif words[0] == "make":
        run(["make", "-n", *words[1 : words.index("&&") if "&&" in words else None]], checkout)
    elif words[0] == "python":
        assert (ROOT / words[1]).is_file()
    elif words[:2] == ["pip", "install"] and not elsewhere:
        assert words[2:] == ["."] and (ROOT / "pyproject.toml").is_file()
    else:
        assert elsewhere, f"{page} has a command that nothing tests: {command}"


def run(words, folder):
    done = subprocess.run(
        words, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


PYTHON = [page for page in PAGES if blocks(page, "python") and name(page) not in WALKS]


@pytest.mark.parametrize("page", PYTHON, ids=name)
def test_examples_of_the_pages_run(page):
    names = {}
    for _, text in blocks(page, "python"):
        exec(compile(text, name(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_and_headings(page):
    for target, heading in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text("utf-8")):
        path = page.parent / target if target else page
        assert path.exists(), f"{name(page)}: {target}"
        if heading:
            sources = [path, *([ROOT / "benchmarks/README.md"] if path.name == "speed.md" else [])]
            lines = "\n".join(source.read_text("utf-8") for source in sources)
            slugs = [slug(line) for line in re.findall(r"^#+ (.+)$", lines, re.MULTILINE)]
            assert heading in slugs, f"{name(page)}: {target}#{heading}"


def slug(heading):
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


#: files that a page asks the user to write
THE_USERS = {
    "config/mine.yaml",
    "lgg/losses/similarity_preserving.py",
    "lgg/defences/logit_squeezing.py",
    "lgg/models/plain_cnn.py",
}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_a_page_names_in_the_repository_is_there(page):
    text = page.read_text("utf-8")
    folders = "lgg|tests|tools|config|docs|workflow|profiles|envs|benchmarks|examples"
    for path, test in re.findall(rf"`((?:{folders})/[\w./-]+)(?:::(\w+))?`", text):
        if path in THE_USERS:
            continue
        assert (ROOT / path).exists() or path == "benchmarks/results/", f"{name(page)}: {path}"
        if test:
            assert f"def {test}(" in (ROOT / path).read_text("utf-8"), f"{name(page)}: {path}::{test}"


def test_the_rooms_of_the_pipeline_hold_each_of_its_files_once():
    text = (DOCS / "architecture.md").read_text("utf-8")
    rows = text.partition("in `lgg/pipeline/`:\n")[2].partition("\n\n## ")[0]
    named = [one for row in re.findall(r"^\| (`.*?`) \|", rows, re.M) for one in re.findall(r"`([^`]+)`", row)]
    files = [path for path in (ROOT / "lgg" / "pipeline").iterdir() if path.name not in ("__init__.py", "__pycache__")]
    assert sorted(named) == sorted(path.name + "/" * path.is_dir() for path in files)


@pytest.mark.pipeline
def test_the_drawing_shows_the_present_rules(checkout):
    drawing = "import sys; sys.path.insert(0, sys.argv[1]); import drawings; print(drawings.ask_snakemake(), end='')"
    drawn = subprocess.run(
        [sys.executable, "-c", drawing, str(ROOT / "tools")],
        cwd=checkout,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert drawn == (DOCS / "assets" / "rules.dot").read_text("utf-8"), "run: make format"
    edges = len(re.findall("->", drawn))
    assert len(re.findall(r'class="edge"', (DOCS / "assets" / "rules.svg").read_text("utf-8"))) == edges


def test_no_page_names_a_folder_of_the_author_s_machine():
    for page in PAGES:
        assert not re.search(r"/(work|root|tmp|home/\w+)/", page.read_text("utf-8")), name(page)


def test_the_readme_fits_on_one_screen():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 80


def test_the_site_has_every_page():
    menu = (ROOT / "mkdocs.yml").read_text("utf-8")
    for page in sorted(DOCS.rglob("*.md")):
        assert f": {page.relative_to(DOCS).as_posix()}\n" in menu


@pytest.mark.system
def test_the_documentation_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="mkdocs is not installed; it is in the extra `dev`")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "arithmatex" not in (tmp_path / "method.html").read_text("utf-8")  # every equation became MathML
    assert "<math" in (tmp_path / "method.html").read_text("utf-8")


def test_the_page_from_scratch_prints_what_its_comments_state(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    names, checked = {}, 0
    for _, text in blocks(DOCS / "graphs_from_scratch.md", "python"):
        exec(compile(text, "graphs_from_scratch.md", "exec"), names)
        stated = re.findall(r"^print\(.*\)  # (.*)$", text, re.MULTILINE)
        assert capsys.readouterr().out.splitlines() == stated
        checked += len(stated)
    assert checked >= 6
    assert (tmp_path / "graphs_from_scratch.png").stat().st_size > 10_000
