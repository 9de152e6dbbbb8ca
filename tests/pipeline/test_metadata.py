import json
import os
import shutil
from pathlib import Path

import pytest
from snakemake.persistence.file import FilePersistence

from lgg.pipeline import metadata as made

DEMO, RENAMED = Path("results/demo"), Path("results/renamed")
NAMES = ("model.safetensors", "tables/table1.csv", f"{'long' * 60}/{'x' * 60}.csv")


class Snakemake(FilePersistence):
    """Snakemake's records in this folder, without a workflow."""

    def __init__(self):
        super().__init__(nolock=True, path=Path(".snakemake").absolute())

    def remembered(self, path):
        self._clear_cache()
        record = self._read_record(str(path))
        return None if record is None else dict(record.items())


def record_of(run, name):
    """Return a record as Snakemake's version 9 writes it, of a file of `run`."""
    return {
        "rule": "a_rule",
        "input": sorted([f"{run}/data/train.safetensors", "own/results/demo/x.png"]),
        "log": [f"{run}/logs/a.log"],
        "shellcmd": "python",
        "params": ["'recipe'", f"'{name}'"],
        "code": "python {output}",
        "record_format_version": 6,
        "conda_env": None,
        "container_img_url": None,
        "software_stack_hash": "",
        "job_hash": 1,
        "starttime": 1e9,
        "endtime": 1.1e9,
        "incomplete": False,
        "external_jobid": None,
        "input_checksums": {f"{run}/data/train.safetensors": "abc"},
    }


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Work in a folder with a finished run for which Snakemake has all records."""
    monkeypatch.chdir(tmp_path)
    memory = Snakemake()
    for name in NAMES:
        (DEMO / name).parent.mkdir(parents=True, exist_ok=True)
        (DEMO / name).write_text(name)
        memory._io_write(memory._metadata_path, record_of(DEMO, name), str(DEMO / name))
        os.utime(DEMO / name, (1.1e9, 1.1e9))
    (DEMO / "notes.txt").write_text("Snakemake knows nothing of this")
    return tmp_path


def test_a_copy_is_remembered_as_the_run_it_was_copied_from(folder):
    made.keep(DEMO)
    shutil.copytree(DEMO, RENAMED, copy_function=shutil.copyfile)  # new times
    (line,) = made.give_back(RENAMED)
    assert "restored the records of how 3 of its files were made" in line
    memory = Snakemake()
    for name in NAMES:
        assert memory.remembered(RENAMED / name) == record_of(RENAMED, name)
        assert (RENAMED / name).stat().st_mtime == 1.1e9
    assert memory.remembered(RENAMED / "notes.txt") is None
    assert made.give_back(RENAMED) == []


def test_a_run_is_remembered_after_its_memory_was_lost(folder):
    made.keep(DEMO)
    shutil.rmtree(".snakemake")
    assert len(made.give_back(DEMO)) == 1
    memory = Snakemake()  # which would change records of an old version
    assert all(memory.remembered(DEMO / name) == record_of(DEMO, name) for name in NAMES)


def test_existing_records_are_not_changed(folder):
    made.keep(DEMO)
    memory = Snakemake()
    newer = record_of(DEMO, NAMES[0]) | {"params": ["'newer'"]}
    memory._io_write(memory._metadata_path, newer, str(DEMO / NAMES[0]))
    assert made.give_back(DEMO) == []
    assert memory.remembered(DEMO / NAMES[0])["params"] == ["'newer'"]


def test_an_output_of_a_job_that_has_not_ended_stays_incomplete(folder):
    made.keep(DEMO)
    shutil.rmtree(".snakemake")
    memory = Snakemake()
    memory._mark_incomplete(str(DEMO / NAMES[0]), None)
    made.give_back(DEMO)
    assert memory.remembered(DEMO / NAMES[0]) is None
    assert memory.remembered(DEMO / NAMES[1]) is not None


def test_files_that_changed_or_went_are_not_taken_for_those_that_were_kept(folder):
    made.keep(DEMO)
    shutil.copytree(DEMO, RENAMED)
    (RENAMED / NAMES[0]).write_text("another network")
    (RENAMED / NAMES[1]).unlink()
    first, second = made.give_back(RENAMED)
    assert "how 1 of its files" in first
    assert f"There is no record of how these files were made: {RENAMED / NAMES[0]} (" in second


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"format": "other", "files": {"a": 1}}', '{"format": 1}'])
def test_a_copy_without_records_is_reported(folder, content):
    shutil.copytree(DEMO, RENAMED)
    (RENAMED / "checkpoint.safetensors").touch()
    (RENAMED / ".model.abcdefgh.safetensors").touch()
    if content is not None:
        (RENAMED / made.FILE).write_text(content)
    (line,) = made.give_back(RENAMED)
    assert f"There is no record of how these files were made: {RENAMED / NAMES[0]} (" in line
    assert "remove them" in line


def test_nothing_is_kept_while_jobs_run_and_nothing_of_nothing(folder):
    made.keep(DEMO)
    assert set(json.loads((DEMO / made.FILE).read_text())["files"]) == set(NAMES)
    made.forget(DEMO)
    made.forget(DEMO)
    assert not (DEMO / made.FILE).exists()
    made.keep(Path("results/none"))
    assert not Path("results/none").exists()
    assert made.give_back(Path("results/none")) == []


def test_with_snakemake_s_database_nothing_is_done(folder):
    made.keep(DEMO)
    shutil.copytree(DEMO, RENAMED)
    made.DATABASE.touch()
    assert made.give_back(RENAMED) == []


def test_a_run_does_not_fail_because_it_cannot_be_written(folder, monkeypatch):
    def full(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(made, "write_json", full)
    made.keep(DEMO)
    assert not (DEMO / made.FILE).exists()
