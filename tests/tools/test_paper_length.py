"""The paper's configuration in steps up to a time limit; a stand-in for Snakemake writes down how it was called.

That a Snakemake that gets SIGTERM keeps checkpoints is tested in `tests/workflow/test_interruptions.py`.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time

import paper_length
import pytest
from configurations import ROOT, configured, content, read
from snakemake_runs import without_ignored_signals

from lgg.files import write_text

COMMITTED = tuple(read(name) for name in paper_length.OVERLAYS)
SETTINGS = configured(*COMMITTED)
SNAKEMAKE = """
import json, os, signal, sys, time
from pathlib import Path

with open("calls", "a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
number = len(Path("calls").read_text().splitlines())
if "--unlock" in sys.argv:
    Path(".snakemake/locks/0.output.lock").unlink()
elif number == int(os.environ["FAILS_AT"]):
    sys.exit(1)
elif number == int(os.environ["WAITS_AT"]):
    def end(*_):
        time.sleep(0.5)
        Path("checkpoints").touch()
        sys.exit(1)
    signal.signal(signal.SIGTERM, end)
    Path("waiting").touch()
    while True:
        time.sleep(0.1)
"""


@pytest.fixture
def start(tmp_path):
    """Return what starts a command, by default the tool, in a folder where Snakemake fails or waits at one of its calls."""
    write_text(tmp_path / "fake/snakemake/__init__.py", "")
    write_text(tmp_path / "fake/snakemake/__main__.py", SNAKEMAKE)
    (tmp_path / "config").symlink_to(ROOT / "config")

    def started(*arguments, program=(ROOT / "tools/paper_length.py",), fails_at=0, waits_at=0):
        fake = {"PYTHONPATH": str(tmp_path / "fake"), "FAILS_AT": str(fails_at), "WAITS_AT": str(waits_at)}
        return subprocess.Popen(
            [sys.executable, *program, *arguments],
            cwd=tmp_path,
            env=os.environ | fake,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=without_ignored_signals,
        )

    return started


def wait_for_a_waiting_snakemake(folder, process):
    while not (folder / "waiting").exists():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.02)


def calls(folder):
    return [json.loads(line) for line in (folder / "calls").read_text("utf-8").splitlines()]


def after(words, option):
    """Return what follows an option that takes several words."""
    if option not in words:
        return []
    found = words[words.index(option) + 1 :]
    return found[: next((place for place, word in enumerate(found) if word.startswith("--")), len(found))]


def states(output):
    return [line.partition(": ")[2] for line in output.partition("== results/paper-length\n")[2].splitlines()]


def rows(settings):
    """Return the methods of each section that a configuration has."""
    parts = {name: getattr(settings, name) for name in ("distillation", "robustness", "embedding")}
    return {name: set(part.active_methods) for name, part in parts.items() if part}


def test_each_step_is_a_configuration_that_has_what_the_former_one_has_and_the_next_table(start, tmp_path):
    run = start("1h")
    output, _ = run.communicate()
    assert run.returncode == 0
    whole = rows(SETTINGS)
    without_pgd = whole["robustness"] - {"adversarial"}
    assert whole["distillation"] == {"baseline", "rkd_d", "gkd"}
    assert without_pgd == {"baseline", "parseval", "regularizer", "both"}
    assert whole["embedding"] == {"cross_entropy", "label_variation"}
    found = []
    for words in calls(tmp_path):
        assert after(words, "--configfile") == ["config/cifar10.yaml", "config/paper-length.yaml"]
        overrides = [content(word.replace("=", ": ", 1)) for word in after(words, "--config")]
        found.append(rows(configured(*COMMITTED, *overrides)))
    assert found == [
        {"distillation": whole["distillation"]},
        {"distillation": whole["distillation"], "robustness": without_pgd},
        {**whole, "robustness": without_pgd},
        whole,
    ]
    assert [state.split(";")[0] for state in states(output)] == ["finished"] * 4


def test_networks_of_the_steps_are_those_of_the_paper_once_each():
    steps = paper_length.steps_of(SETTINGS)
    networks = [folder for step in steps for folder in step.networks]
    assert len(set(networks)) == len(networks)
    # a teacher and three students; four defences, and one baseline more; two embeddings; one defence
    assert [len(step.networks) for step in steps] == [1 + 3 * 3, 4 * 3 + 1, 2 * 2, 3]


def test_tables_that_an_overlay_removes_are_no_steps():
    short = configured(*COMMITTED, "{embedding: null, robustness: {methods: {adversarial: null}}}")
    names = [step.what.split(" without")[0] for step in paper_length.steps_of(short)]
    assert names == ["Table 1", "Table 3"]


def test_a_step_that_is_made_is_not_run_again_but_the_last_one_which_is_the_whole_run(start, tmp_path):
    results = tmp_path / "results/paper-length"
    steps = paper_length.steps_of(SETTINGS)
    for step in steps:
        for folder in step.networks:
            write_text(results / folder / "model.safetensors", "")
        write_text(results / f"tables/{step.table}.csv", "")
    (results / steps[1].networks[-1] / "model.safetensors").unlink()
    run = start("1h")
    output, _ = run.communicate()
    assert [after(words, "--config") for words in calls(tmp_path)] == [steps[1].leaving_out, []]
    assert [state.split(";")[0] for state in states(output)] == ["finished"] * 4


def test_a_step_that_fails_keeps_no_other_from_running(start, tmp_path):
    run = start("1h", fails_at=2)
    output, _ = run.communicate()
    assert run.returncode == 1
    assert len(calls(tmp_path)) == 4
    assert [state.split(";")[0] for state in states(output)] == ["finished", "failed", "finished", "finished"]


def test_at_the_limit_it_stops_says_what_is_finished_and_is_content(start, tmp_path):
    network = tmp_path / "results/paper-length/distillation"
    write_text(network / "teacher/model.safetensors", "")
    write_text(network / "gkd/seed1/checkpoint.safetensors", "")
    run = start("1s", waits_at=1)
    output, _ = run.communicate()
    assert run.returncode == 0
    table1, *others = states(output)[:-1]
    assert table1 == "not finished; 1 of 10 networks trained, 1 with a checkpoint"
    assert [other.split(";")[0] for other in others] == ["not finished"] * 3
    assert "The same command goes on from here" in output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_snakemake_which_has_time_for_checkpoints(start, tmp_path, number):
    run = start("1h", waits_at=2)
    wait_for_a_waiting_snakemake(tmp_path, run)
    run.send_signal(number)
    output, _ = run.communicate()
    assert (tmp_path / "checkpoints").exists()
    assert run.returncode == 0
    assert len(calls(tmp_path)) == 2
    assert [state.split(";")[0] for state in states(output)[:-1]] == ["finished", *["not finished"] * 3]


def test_the_lock_of_a_killed_snakemake_is_removed(start, tmp_path):
    write_text(tmp_path / ".snakemake/locks/0.output.lock", "")
    run = start("1h")
    run.communicate()
    assert ["--unlock" in words for words in calls(tmp_path)] == [True, *[False] * 4]


def test_the_lock_of_a_snakemake_that_runs_here_is_left(start, tmp_path):
    other = start(program=("-m", "snakemake"), waits_at=1)
    try:
        wait_for_a_waiting_snakemake(tmp_path, other)
        write_text(tmp_path / ".snakemake/locks/0.output.lock", "")
        start("1h").communicate()
        assert not any("--unlock" in words for words in calls(tmp_path))
    finally:
        other.kill()
        other.communicate()


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("50m", 3000), ("2h", 7200)])
def test_a_limit_is_a_number_and_a_unit(text, seconds):
    assert paper_length.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["50", "0m", "1.5h", "m", "-5m", "5 m", "5d"])
def test_other_limits_are_refused_with_an_example(text):
    with pytest.raises(argparse.ArgumentTypeError, match="such as 50m"):
        paper_length.seconds_of(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["1h", "--config", "seeds=[0]"], "write an overlay", id="--config"),
        pytest.param(["1h", "--configfile", "none.yaml"], "none.yaml", id="no such overlay"),
        pytest.param(["1h", "--configfile", "wrong.yaml"], "did you mean 'seeds'?", id="a mistake in an overlay"),
    ],
)
def test_a_mistake_is_told_before_anything_runs(arguments, message, tmp_path, monkeypatch, capsys):
    (tmp_path / "config").symlink_to(ROOT / "config")
    write_text(tmp_path / "wrong.yaml", "sedes: [0]\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        paper_length.main(arguments)
    assert message in capsys.readouterr().err
