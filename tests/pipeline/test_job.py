import sys
from types import SimpleNamespace

import pytest
import torch

from lgg.errors import DataError, Interrupted
from lgg.files import atomic_path
from lgg.pipeline.job import run, shared_options


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


def test_optional_files_may_be_left_out(monkeypatch):
    seen = []
    files = {"optional": ["a"], "optional_lists": ["b"], "optional_outputs": ["c"]}
    for arguments in ((), ("--a", "1", "--b", "2", "3", "--out-c", "4")):
        call(monkeypatch, seen.append, "--recipe", "{}", *arguments, **files)
    assert (seen[0].a, seen[0].b, seen[0].out_c) == (None, [], None)
    assert [str(one) for one in (seen[1].a, *seen[1].b, seen[1].out_c)] == ["1", "2", "3", "4"]


def test_the_launcher_reads_the_shared_options_among_those_of_any_stage():
    options = ["--recipe", '{"a": 1}', "--train", "t", "--gpus", "2", "--out-code", "m", "--thread", "9"]
    given, others = shared_options().parse_known_args(options)
    assert (given.gpus, given.threads, given.code, given.checkpoints) == (2, 1, "", {})
    assert others == [word for word in options if word not in ("--gpus", "2")]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (DataError("photographs are missing; install them"), "error: photographs are missing; install them"),
        (OSError(28, "No space left on device"), "error: a file could not be read or written"),
    ],
)
def test_an_error_that_the_user_can_fix_ends_without_a_traceback(monkeypatch, capsys, error, message):
    def stage(arguments):
        raise error

    with pytest.raises(SystemExit) as caught:
        call(monkeypatch, stage, "--recipe", "{}", "--out-model", "m", outputs=["model"])
    assert str(caught.value).startswith(message)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_lack_of_memory_names_the_keys_to_turn_down(monkeypatch, error):
    def stage(arguments):
        raise error

    with pytest.raises(SystemExit) as caught:
        call(monkeypatch, stage, "--recipe", "{}")
    for key in (
        "batch_size",
        "base_width",
        "width",
        "precision",
        "resources.networks_per_job",
        "resources.train.mem_mb",
        "resources.evaluate.mem_mb",
    ):
        assert key in str(caught.value)


def test_failed_allocations_of_torch_are_lack_of_memory(monkeypatch):
    with pytest.raises(SystemExit, match="ran out of memory"):
        call(monkeypatch, lambda _: torch.empty(2**50), "--recipe", "{}")


def test_another_error_of_torch_keeps_its_traceback(monkeypatch):
    def stage(arguments):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        call(monkeypatch, stage, "--recipe", "{}")


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch):
    def stage(arguments):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call(monkeypatch, stage, "--recipe", "{}", "--out-model", "m", outputs=["model"])


def test_a_missing_argument_is_named(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, print, "--recipe", "{}", outputs=["model"])
    assert "--out-model" in capsys.readouterr().err


def test_the_last_line_says_how_long_the_stage_worked_and_wrote(monkeypatch, capsys, tmp_path):
    now = 100.0
    for module in ("lgg.files", "lgg.pipeline.job"):
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


def test_an_interruption_ends_with_where_the_checkpoint_is(monkeypatch, capsys):
    def stage(_):
        raise Interrupted("SIGTERM ended this training. Its checkpoint is here.")

    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, stage, "--recipe", "{}")
    assert ended.value.code == "SIGTERM ended this training. Its checkpoint is here."


def test_ctrl_c_ends_without_a_traceback(monkeypatch):
    def stage(_):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit, match="interrupted"):
        call(monkeypatch, stage, "--recipe", "{}")
