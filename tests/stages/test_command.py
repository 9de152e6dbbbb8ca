import sys

import pytest

from lgg.errors import DataError
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
def test_what_a_person_can_mend_ends_without_a_traceback(monkeypatch, error, message):
    def stage(arguments):
        raise error

    with pytest.raises(SystemExit) as caught:
        call(monkeypatch, stage, "--recipe", "{}", "--out-model", "m", outputs=["model"])
    assert str(caught.value).startswith(message)


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch):
    def stage(arguments):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call(monkeypatch, stage, "--recipe", "{}", "--out-model", "m", outputs=["model"])


def test_a_missing_argument_is_named(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, print, "--recipe", "{}", outputs=["model"])
    assert "--out-model" in capsys.readouterr().err
