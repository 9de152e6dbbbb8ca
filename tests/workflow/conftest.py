import json
import os
import shutil
import subprocess

import pytest
from filelock import FileLock
from snakemake_runs import GIT, copy_checkout, snakemake


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    """Return a copy of the checkout without results; tests only read it."""
    return copy_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Return a copy of the checkout after the run on digits, where there is git a repository of one commit; only read."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # the workers' common folder: the first one runs it for all
    folder, record = base / "finished", base / "finished.json"
    with FileLock(base / "finished.lock"):
        if not record.exists():
            shutil.rmtree(folder, ignore_errors=True)
            copy_checkout(folder)
            if GIT:
                commit(folder)
            done = snakemake(folder, "--cores", "2")
            record.write_text(json.dumps({"status": done.returncode, "output": done.stdout}), encoding="utf-8")
    outcome = json.loads(record.read_text(encoding="utf-8"))
    assert outcome["status"] == 0, outcome["output"]
    return folder


def commit(folder):
    identity = ("-c", "user.name=Tests", "-c", "user.email=tests@localhost", "-c", "commit.gpgsign=false")
    for arguments in (("init", "--quiet"), ("add", "."), (*identity, "commit", "--quiet", "--message", "all")):
        subprocess.run(["git", *arguments], cwd=folder, check=True)


@pytest.fixture
def copy_of_finished(finished, tmp_path):
    """Return a copy of the finished run with its times, for a test to change."""
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    yield copy
    # dozens of copies would stay until pytest's next but two sessions
    shutil.rmtree(copy, ignore_errors=True)
