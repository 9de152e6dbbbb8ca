"""Jobs that hold a GPU, on a machine without one: devices are only names, and their jobs run on the CPU."""

from itertools import combinations

import pytest
from snakemake_runs import DIGITS, planned_jobs, snakemake, write_overlay

pytestmark = pytest.mark.pipeline

#: loaded by each Python of the run: a driver that finds the devices that are named and locks of its own, and stages that
#: work on the CPU, of which it notes which device each has from when to when
FAKE = """
import atexit, importlib.util, os, sys, time

def devices(module):
    prepare = module.prepare
    def fake(gpus, threads):
        assert gpus == 1
        device, began = os.environ["CUDA_VISIBLE_DEVICES"], time.monotonic()
        def note():
            with open(os.environ["FAKE_NOTES"], "a") as file:
                file.write(f"{device} {began} {time.monotonic()}\\n")
        atexit.register(note)
        time.sleep(2)  # so that jobs that can be together are, though one may be slower to start
        return prepare(0, threads)
    module.prepare = fake

def driver(module):
    module.ask = lambda: module.Answer(os.environ["CUDA_VISIBLE_DEVICES"].split(","))

def gpus(module):
    module.PARENTS = [os.path.dirname(os.environ["FAKE_NOTES"])]

class Fake:
    def find_spec(self, name, path, target=None):
        change = {"lgg.devices": devices, "lgg.pipeline.driver": driver, "lgg.pipeline.gpus": gpus}.get(name)
        if change is None or change in done:
            return None
        done.append(change)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module
        def exec_module(module):
            run(module)
            change(module)
        spec.loader.exec_module = exec_module
        return spec

done = []
sys.meta_path.insert(0, Fake())
"""
STUDENTS = [
    f"results/digits/distillation/{name}/seed{seed}/model.safetensors" for name in ("gkd", "rkd_d") for seed in (0, 1)
]


def held(folder, tmp_path, *arguments, targets, devices="0,1,2,3", jobs_per_gpu=1):
    """Run the jobs of `targets` again, and return device, begin and end of each."""
    overlay = write_overlay(tmp_path, f"resources: {{device: auto, jobs_per_gpu: {jobs_per_gpu}}}")
    notes = tmp_path / "notes"
    notes.unlink(missing_ok=True)
    (tmp_path / "fake").mkdir(exist_ok=True)
    (tmp_path / "fake" / "sitecustomize.py").write_text(FAKE, encoding="utf-8")
    for target in targets:
        (folder / target).unlink()
    done = snakemake(
        folder,
        *(*targets, "--cores", "4", *arguments),
        configs=(DIGITS, overlay),
        variables={
            "PYTHONPATH": str(tmp_path / "fake"),
            "FAKE_NOTES": str(notes),
            "CUDA_VISIBLE_DEVICES": devices,
        },
    )
    assert done.returncode == 0, done.stdout
    rows = [line.split() for line in notes.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == len(targets)
    return [(device, float(began), float(ended)) for device, began, ended in rows]


def together(one, other):
    return one[1] < other[2] and other[1] < one[2]


def test_as_many_jobs_hold_a_gpu_as_the_profile_or_the_command_line_says(copy_of_finished, tmp_path):
    one_by_one = held(copy_of_finished, tmp_path, targets=STUDENTS[:2])
    assert not together(*one_by_one)
    rows = held(copy_of_finished, tmp_path, "--resources", "gpu=4", targets=STUDENTS[:3])
    pairs = [(one, other) for one, other in combinations(rows, 2) if together(one, other)]
    assert pairs  # on a machine with two cores several start at once
    assert all(one[0] != other[0] for one, other in pairs)
    assert {device for device, *_ in [*one_by_one, *rows]} <= {"0", "1", "2", "3"}


def test_jobs_share_a_gpu_where_the_configuration_says_so(copy_of_finished, tmp_path):
    rows = held(copy_of_finished, tmp_path, "--resources", "gpu=2", targets=STUDENTS[:2], devices="0", jobs_per_gpu=2)
    assert {device for device, *_ in rows} == {"0"}
    assert together(*rows)  # on a machine with two cores


@pytest.mark.parametrize(("arguments", "gpus"), [((), "1"), (("--resources", "gpu=4"), "4")])
def test_the_timing_job_takes_all_gpus_that_a_run_may_use(checkout, tmp_path, arguments, gpus):
    overlay = write_overlay(tmp_path, "resources: {device: cuda}")
    jobs = planned_jobs(checkout, *arguments, configs=(DIGITS, overlay))
    asked = {job.rule: job.fields["resources"] for job in jobs}
    assert f"gpu={gpus}," in asked["measure_times"] + ","
    assert "gpu=1," in asked["train_teacher"]
    assert "gpu=0," in asked["assemble_table1"]
