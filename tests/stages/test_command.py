import sys
from types import SimpleNamespace

import pytest

from lgg.errors import DataError
from lgg.files import atomic_path
from lgg.stages.command import run


def call(monkeypatch, stage, *arguments, **files):
    monkeypatch.setattr(sys, "argv", ["stage", *arguments])
    run(stage, **files)


def test_files_and_recipe_arrive_by_name(monkeypatch, tmp_path):
    seen = []
    call(
        monkeypatch,
        seen.append,
        *("--recipe", '{"seed": 3}', "--threads", "2", "--gpus", "1"),
        *("--train", str(tmp_path / "a b.x"), "--models", "one", "two", "--out-model", "m"),
        inputs=["train"],
        lists=["models"],
        optional=["teacher"],
        outputs=["model"],
    )
    (arguments,) = seen
    assert arguments.recipe == {"seed": 3}
    assert (arguments.threads, arguments.gpus, arguments.teacher) == (2, 1, None)
    assert arguments.train == tmp_path / "a b.x"
    assert [path.name for path in arguments.models] == ["one", "two"]
    assert arguments.out_model.name == "m"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (DataError("photographs are missing; install them"), "error: photographs are missing; install them"),
        (OSError(28, "No space left on device"), "error: a file could not be read or written"),
    ],
)
def test_what_a_person_can_mend_ends_without_a_traceback(monkeypatch, capsys, error, message):
    def stage(arguments):
        raise error

    with pytest.raises(SystemExit) as caught:
        call(monkeypatch, stage, "--recipe", "{}", "--out-model", "m", outputs=["model"])
    assert str(caught.value).startswith(message)
    assert capsys.readouterr().err == ""


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch):
    def stage(arguments):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call(monkeypatch, stage, "--recipe", "{}", "--out-model", "m", outputs=["model"])


def test_a_missing_argument_is_named(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, print, "--recipe", "{}", outputs=["model"])
    assert "--out-model" in capsys.readouterr().err


def test_the_end_tells_how_long_the_stage_worked_and_wrote(monkeypatch, capsys, tmp_path):
    now = 100.0
    for module in ("lgg.files", "lgg.stages.command"):
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(perf_counter=lambda: now))

    def stage(arguments):
        nonlocal now
        now += 3.25
        with atomic_path(arguments.out_model):
            now += 0.5
        now += 1.0

    for _ in range(2):  # what the process wrote before is not the stage's
        call(monkeypatch, stage, "--recipe", "{}", "--out-model", str(tmp_path / "m"), outputs=["model"])
        assert capsys.readouterr().err == "job: 4.25 s of work and 0.50 s of writing\n"
