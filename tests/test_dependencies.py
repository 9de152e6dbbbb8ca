"""Imported, declared, pinned and installed packages agree: pyproject.toml, envs/, Makefile, Snakefile."""

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
import yaml
from dependencies import PROJECT, ROOT, imported, installed_with, modules, promised, requirements

#: the extra that is installed to run the files of each folder; None is the package alone
EXTRAS = {"workflow": "pipeline", "examples": "pipeline", "benchmarks": "pipeline", "tests": "test", "tools": "dev"}
#: parts of lgg/ that `pip install .` alone promises to run
ALONE = ("graph", "products", "representations", "attacks", "losses/", "models/", "__init__", "_lazy")


def imports_of_rules(text: str) -> set[str]:
    """Return the third-party packages of a file in Snakemake's language, which Python cannot parse."""
    lines = re.findall(r"^ *(?:from [\w.]+ import .+|import .+)$", text, flags=re.MULTILINE)
    return imported("\n".join(line.strip() for line in lines))


def files(folder):
    return sorted(path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".smk"))


def third_party(path):
    text = path.read_text(encoding="utf-8")
    return imports_of_rules(text) if path.suffix == ".smk" else imported(text)


@pytest.mark.parametrize("folder", ["lgg", *EXTRAS])
def test_every_import_is_promised(folder):
    for path in files(folder):
        alone = folder == "lgg" and str(path.relative_to(ROOT / "lgg")).startswith(ALONE)
        extra = None if alone else EXTRAS.get(folder, "pipeline")
        missing = third_party(path) - modules(promised(extra))
        if folder == "tests":  # which run Snakemake in forks of a process that has imported what it imports
            missing -= modules(installed_with({"snakemake"}))
        assert not missing, (
            f"{path.relative_to(ROOT)} imports {missing}, which {extra or 'the package'} does not ask for"
        )
    assert any(third_party(path) for path in files(folder))


def test_the_report_s_needs_are_promised():
    """`snakemake --report` needs a package that Snakemake does not require."""
    import snakemake.report.html_reporter as reporter

    folder = Path(reporter.__file__).parent
    wanted = set().union(*map(third_party, folder.rglob("*.py"))) - {"snakemake"}
    assert "pygments" in wanted - modules(installed_with({"snakemake"}))
    assert wanted <= modules(installed_with(promised("pipeline")))


# conda's names, where they differ
CONDA = {
    "matplotlib": "matplotlib-base",
    "seaborn": "seaborn-base",
    "snakemake": "snakemake-minimal",
    "torch": "pytorch",
}


def test_conda_s_environment_is_the_extra_pipeline():
    environment = yaml.safe_load((ROOT / "envs" / "environment.yaml").read_text(encoding="utf-8"))
    listed = dict(re.fullmatch(r"([\w-]+)(.*)", line).groups() for line in environment["dependencies"])
    assert listed.pop("python").startswith("=3.")
    bounds = {name: {str(s) for s in requirement.specifier} for name, requirement in requirements("pipeline").items()}
    assert {name: set(bound.split(",")) for name, bound in listed.items()} == {
        CONDA.get(name, name): bound for name, bound in bounds.items()
    }
    # conda-forge has neither Snakemake nor its plugins
    assert environment["channels"][:2] == ["conda-forge", "bioconda"]


def test_every_promise_is_pinned_within_its_bounds():
    lines = (ROOT / "envs" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {name.lower().replace("_", "-"): version for name, version in (x.split("==") for x in lines if "==" in x)}
    for name, requirement in requirements("dev").items():
        assert requirement.specifier.contains(pins[name]), f"{requirement}, but {pins[name]} is pinned"


def test_the_snakefile_asks_for_the_snakemake_that_is_promised():
    asked = re.search(r'min_version\("([\d.]+)"\)', (ROOT / "Snakefile").read_text(encoding="utf-8"))[1]
    assert str(requirements("pipeline")["snakemake"].specifier) == f">={asked}"


def test_the_distribution_is_not_somebody_else_s():
    """PyPI has an unrelated `lgg`, which nothing here may install or recommend."""
    assert PROJECT["name"] != "lgg"
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "lgg").rglob("*.py")]:
        found = re.findall(r"(?i:install)\b[^\n]*\slgg(?:\[\w+\])?(?=[\s`'\"]|$)", path.read_text(encoding="utf-8"))
        assert not found, path.name


# -- make's environment, with a stand-in for Python that writes down what it is called with


STAND_IN = """#!/usr/bin/env bash
echo "$0 $*" >> "$RECORD"
case "$*" in
    "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
    "-m pip list"*) printf '%s' "$INSTALLED" ;;
    "-c from importlib"*) [ -z "$SYSTEM_TORCH" ] || echo --system-site-packages ;;
esac
"""


@pytest.fixture
def make(tmp_path):
    """Make the environment `pipeline` with a stand-in for Python; return its calls and pip's constraints."""
    python, record = tmp_path / "python3", tmp_path / "record"
    python.write_text(STAND_IN)
    python.chmod(python.stat().st_mode | stat.S_IXUSR)

    def run(*variables, installed="", system_torch=""):
        venv = tmp_path / "env"
        command = ["make", "-C", str(ROOT), f"PYTHON={python}", f"VENV={venv}", *variables, f"{venv}/pipeline"]
        variables = {"RECORD": str(record), "INSTALLED": installed, "SYSTEM_TORCH": system_torch}
        done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return record.read_text().splitlines(), (venv / "constraints.txt").read_text().splitlines()

    return run


PINS = (ROOT / "envs" / "constraints.txt").read_text(encoding="utf-8").splitlines()


def installs(calls):
    return [call.split(" -m pip ")[1] for call in calls if " -m pip install " in call]


def test_make_installs_the_pinned_versions(make):
    calls, constraints = make()
    assert constraints == PINS
    assert [call.split()[-2:] for call in installs(calls)] == [["-e", ".[pipeline]"]]
    assert not any(call.endswith(" --system-site-packages") for call in calls)


def test_make_takes_pytorch_s_own_build_where_asked(make):
    calls, constraints = make("TORCH=cpu")
    assert constraints == PINS
    first, second = installs(calls)
    assert first.endswith("--extra-index-url https://download.pytorch.org/whl/cpu torch torchvision")
    assert second.endswith("-e .[pipeline]")


def test_make_keeps_the_pytorch_that_is_there(make):
    """Its version replaces the pins of PyTorch and of packages that come with it; the others are kept."""
    calls, constraints = make(installed="numpy==2.0.0\ntorch==2.9.0+rocm6.4\ntorchaudio==2.9.0\n")
    assert constraints[-1] == "torch==2.9.0+rocm6.4"
    gone = set(PINS) - set(constraints)
    assert {line.split("==")[0].split("-")[0] for line in gone} == {"torch", "torchvision", "triton", "nvidia", "cuda"}
    assert set(constraints) - set(PINS) == {"torch==2.9.0+rocm6.4"}
    assert len(installs(calls)) == 1


def test_make_sees_the_pytorch_of_a_container_s_python(make):
    calls, _ = make(system_torch="yes")
    assert [call for call in calls if call.endswith("/env --system-site-packages")]
