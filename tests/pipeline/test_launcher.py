import os
import signal
import subprocess
import sys

import pytest


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
        ("train_netwrok", "Similar names: train_network"),
        ("networks", "there is no stage 'networks'"),
        ("", "Stages: "),
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
    assert done.stderr.startswith("error: this job needs 1 GPU, but there are 0 available")


@pytest.mark.parametrize(("variable", "text"), [("LGG_GPUS", "0,1"), ("LGG_JOBS_PER_GPU", "1.5")])
def test_a_variable_that_no_run_wrote_is_refused_by_its_name(variable, text):
    done = launch("train_network", "--gpus", "1", **{variable: text})
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: the environment variable {variable} is '{text}'")


STAGE = """
import os, runpy, sys
from contextlib import contextmanager
from lgg.pipeline import __main__ as launcher
from lgg.training import terminal

@contextmanager
def claimed(*arguments):
    print("claimed", *arguments, "torch" in sys.modules)
    yield

launcher.claimed = claimed
runpy.run_module = lambda name, **_: print(name, sys.argv[1:], terminal._screen, terminal._job)
launcher.main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("networks", "variable", "option", "name"),
    [
        (["distillation/gkd/seed0"], "false", [], "distillation/gkd/seed0"),
        (["distillation/gkd/seed0", "distillation/gkd/seed1"], "true", ["--captured"], "distillation/gkd/seed0, seed1"),
    ],
)
def test_the_environment_of_a_job_is_passed_on(networks, variable, option, name):
    handed = {"LGG_GPUS": '{"3": "gpu-aa"}', "LGG_JOBS_PER_GPU": "2", "LGG_TERMINAL": '"/dev/x"'}
    handed |= {"LGG_CHECKPOINTS": '{"minutes": null, "epochs": 5}', "LGG_SNAKEMAKE": str(os.getpid())}
    handed |= {"LGG_CAPTURED_STEPS": variable, "LGG_ROWS": '{"geometry": {"weights": []}}'}
    models = [f"results/demo/{network}/model.safetensors" for network in networks]
    options = ["--gpus", "1", "--out-model", *models, "--out-history", "history.csv"]
    done = subprocess.run(
        [sys.executable, "-c", STAGE, "train_network", *options],
        env=os.environ | handed,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    given = [*options, "--checkpoints", '{"minutes": null, "epochs": 5}', *option]
    given += ["--rows", '{"geometry": {"weights": []}}']
    assert done.stdout.splitlines() == [
        "claimed 1 {'3': 'gpu-aa'} 2 False",
        f"lgg.pipeline.stages.train_network {given} /dev/x {name}",
    ]


WAITING = """
import os, sys, time
from lgg.pipeline import __main__ as launcher
if sys.argv[1] == "no pidfd":
    del os.pidfd_open
launcher._end_with(int(sys.argv[2]))
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("system", ["Linux", "no pidfd"])
def test_a_job_ends_with_the_snakemake_that_started_it(system):
    snakemake = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    job = subprocess.Popen(
        [sys.executable, "-c", WAITING, system, str(snakemake.pid)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert job.stdout.readline() == "ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            job.wait(timeout=0.5)
        snakemake.kill()
        snakemake.wait()
        assert job.wait(timeout=20) == -signal.SIGTERM
        assert "Snakemake has exited" in job.stderr.read()
    finally:
        for process in (job, snakemake):
            process.kill()
            process.wait()
        job.stdout.close()
        job.stderr.close()


def test_a_job_of_a_snakemake_that_is_gone_already_ends_at_once():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    job = subprocess.run(
        [sys.executable, "-c", WAITING, "Linux", str(gone.pid)],
        capture_output=True,
        timeout=30,
    )
    assert job.returncode == -signal.SIGTERM
