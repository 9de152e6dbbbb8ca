"""Runs Snakemake in copies of the checkout, and reads what it did or would do from its output."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DIGITS = "tests/workflow/digits.yaml"
#: the git program; a machine that only runs the workflow may not have it
GIT = shutil.which("git")
CHECKOUT = ("Snakefile", "lgg", "workflow", "config", "profiles", "envs", DIGITS)


@dataclass(frozen=True)
class Job:
    """A job as Snakemake announces it: `fields` holds its lines, such as output, log and resources, as text."""

    rule: str
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The rule, and the method where it works on one: jobs that differ in their seed alone share a name."""
        method = re.search(r"\bmethod=(\w+)", self.fields.get("wildcards", ""))
        return f"{self.rule} {method[1]}" if method else self.rule

    def files(self, kind: str) -> list[str]:
        return self.fields[kind].split(", ") if kind in self.fields else []


def copy_checkout(folder: Path) -> Path:
    """Copy what a run needs, and no results, into `folder`."""
    for name in CHECKOUT:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    return folder


def environment(**changes: str) -> dict[str, str]:
    """Return this process's environment, except variables that would let a job find another package than the copy's."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | changes


def without_ignored_signals() -> None:
    """Restore default handling of Ctrl-C and SIGHUP in a new process, which may inherit them as ignored (nohup, background)."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def command(*arguments: str | Path, configs: Iterable[str | Path] = (DIGITS,)) -> list[str]:
    configs = list(map(str, configs))
    overlays = ["--configfile", *configs] if configs else []
    return [sys.executable, "-m", "snakemake", *map(str, arguments), *overlays]


def snakemake(
    folder: Path,
    *arguments: str | Path,
    configs: Iterable[str | Path] = (DIGITS,),
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in `folder` and return the finished process; its stdout has both streams."""
    words = command(*arguments, configs=configs)
    if not variables:
        return in_a_fork(folder, words)
    # variables may concern the Python itself
    return subprocess.run(
        words,
        cwd=folder,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=1200,
    )


def in_a_fork(folder: Path, words: list[str]) -> subprocess.CompletedProcess[str]:
    """Run the command `words`, which is `python -m snakemake …`, in this process's environment, and return the result."""
    forks = start_forks()
    request = {"folder": str(folder), "arguments": words[3:], "variables": environment()}
    print(json.dumps(request), file=forks.stdin, flush=True)
    status, output = json.loads(forks.stdout.readline())
    return subprocess.CompletedProcess(words, status, output)


@cache
def start_forks() -> subprocess.Popen[str]:
    """Start what runs Snakemake for this process, and ends with it."""
    script = Path(__file__).with_name("forks.py")
    return subprocess.Popen(
        [sys.executable, script],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )


def announced_jobs(output: str) -> list[Job]:
    """Return the jobs that Snakemake's output announces, except `all`."""
    jobs: list[Job] = []
    for line in output.splitlines():
        if rule := re.fullmatch(r"(?:local)?rule (\w+):", line):
            jobs.append(Job(rule[1]))
        elif jobs and (entry := re.fullmatch(r"    (\w+): (.*)", line)):
            jobs[-1].fields.setdefault(entry[1], entry[2])
    return [job for job in jobs if job.rule != "all"]


def job_stats(output: str) -> Counter[str]:
    """Return the number of jobs per rule that Snakemake prints first, except `all`."""
    _, _, table = output.partition("Job stats:")
    rows = re.findall(r"^(\w+) +(\d+)$", table.partition("\n\n")[0], flags=re.MULTILINE)
    return Counter({rule: int(count) for rule, count in rows if rule not in ("all", "total")})


def planned_jobs(folder: Path, *arguments: str | Path, **options) -> list[Job]:
    """Return the jobs that a call would run now, except `all`."""
    done = snakemake(folder, "--dry-run", *arguments, **options)
    assert done.returncode == 0, done.stdout
    jobs = announced_jobs(done.stdout)
    # the two accounts come from different parts of Snakemake: a job that the parser missed shows here
    assert Counter(job.rule for job in jobs) == job_stats(done.stdout), done.stdout
    return jobs


def plan(folder: Path, *arguments: str | Path, **options) -> dict[str, int]:
    """Return how many jobs of each name a call would run now."""
    return dict(Counter(job.name for job in planned_jobs(folder, *arguments, **options)))


def write_overlay(folder: Path, text: str) -> Path:
    path = folder / "change.yaml"
    path.write_text(text, encoding="utf-8")
    return path
