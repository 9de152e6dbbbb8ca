import os
import subprocess
import sys

import pytest

from lgg.pipeline.__main__ import _gpus


def launch(*arguments, **variables):
    return subprocess.run(
        [sys.executable, "-m", "lgg.pipeline", *arguments],
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )


def test_a_stage_runs_as_it_does_by_itself(tmp_path):
    done = launch("prepare_data", "--help")
    assert done.returncode == 0, done.stderr
    assert "--recipe" in done.stdout and "--out-train" in done.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train_netwrok", "Near to it are: train_network"),
        ("networks", "there is no stage 'networks'"),
        ("", "There are: "),
    ],
)
def test_an_unknown_stage_is_named_without_a_traceback(name, message):
    done = launch(*([name] if name else []))
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no stage")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_gpu_that_is_not_there_ends_before_anything_is_loaded():
    done = launch("train_network", "--recipe", "{}", "--gpus", "1", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 1
    assert done.stderr.startswith("error: this job needs 1 GPU, but there are 0 to be had")


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["--gpus", "2"], 2),
        (["--gpus=3", "--threads", "4"], 3),
        (["--threads", "4"], 0),
        (["--gpus", "many"], 0),
        ([], 0),
    ],
)
def test_the_number_of_gpus_is_read_from_the_arguments(arguments, count):
    assert _gpus(arguments) == count
