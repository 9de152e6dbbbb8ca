"""benchmarks/step_times.py: its table, goals and time limit, with small networks on the CPU."""

import math
import time

import pandas as pd
import pytest
import step_times
import torch
from kernels import WITH_TEACHER
from spreading import paper, timing_recipe
from step_times import Measurements, goals, markdown, medians

from lgg import models
from lgg.data.batches import Batches
from lgg.training.objectives import CrossEntropy
from lgg.training.timing import Trial

NAMES = ("robustness.baseline", "robustness.regularizer", "distillation.baseline", "distillation.gkd", WITH_TEACHER)


class Small(Measurements):
    """Measurements of tiny networks."""

    def trainings(self, precision, captured, only=None):
        batches = Batches(torch.zeros(4, 8, 8, 3, dtype=torch.uint8), torch.arange(4) % 2, batch_size=2, seed=0)
        return {
            name: Trial(
                models.build("wide_resnet", num_classes=2, depth=10, width=0.1),
                CrossEntropy(),
                batches,
                precision=precision,
                captured=captured,
            )
            for name in ((only,) if only else NAMES)
        }


def measurements(until=math.inf):
    return Small(None, None, torch.device("cpu"), rounds=2, steps=1, until=until)


@pytest.fixture(scope="module")
def times():
    found = measurements()
    found.alone("float32")
    found.side_by_side("robustness.baseline", "float32")
    return pd.DataFrame(found.rows)


def test_every_training_is_measured_alone_and_several_networks_side_by_side(times):
    assert (times["seconds_per_step"] > 0).all()
    assert not times["captured"].any()  # there is no GPU
    alone = times[times["networks"] == 1]
    assert set(alone["name"]) == set(NAMES)
    assert sorted(times.loc[times["name"] == "robustness.baseline", "networks"].unique()) == [1, 2, 4, 8, 16]
    assert set(times["round"]) == {0, 1}


def rows(**seconds):
    return pd.DataFrame(
        {"name": name.replace("__", "."), "precision": "bfloat16", "captured": True, "networks": number}
        | {"round": 0, "seconds_per_step": value, "gigabytes": 1.0}
        for name, (number, value) in seconds.items()
    )


def test_ratios_are_to_the_reference_alone_and_teraflops_count_all_networks():
    several = rows(robustness__baseline=(4, 4e-3))
    alone = rows(robustness__baseline=(1, 2e-3), robustness__regularizer=(1, 3e-3))
    table = medians(pd.concat([alone, several]), {"robustness.baseline": 10**12, "robustness.regularizer": 10**12})
    assert table["ratio"].tolist() == pytest.approx([1.0, 1.5, math.nan], nan_ok=True)
    assert table["teraflops"].tolist() == pytest.approx([500.0, 1000 / 3, 1000.0])
    found = goals(table, hours=7.0).set_index("goal")["measured"]
    assert found["robustness.baseline: milliseconds"] == 2.0
    assert found["robustness.regularizer: ratio"] == 1.5
    assert found["robustness.baseline side by side: TFLOP/s, at least"] == 1000.0
    assert markdown(table).splitlines()[2].startswith("| robustness.baseline | bfloat16 | True | 1 | 2 |")


def test_what_is_not_reached_in_time_is_named(capsys):
    found = measurements(until=time.monotonic() - 1)
    found.alone("bfloat16")
    found.side_by_side("distillation.gkd", "float32")
    assert found.rows == []
    said = capsys.readouterr().out
    assert "one network at a time, bfloat16" in said
    assert "1 networks of distillation.gkd side by side, float32" in said


def test_a_training_that_fails_is_named_and_the_others_are_measured(capsys, monkeypatch):
    def fails(_, networks):
        if networks[0].objective is broken:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")
        return 0.0

    found, broken = measurements(), CrossEntropy()
    trials = found.trainings("float32", False)
    trials["robustness.regularizer"].objective = broken
    monkeypatch.setattr(Small, "trainings", lambda *_: trials)
    monkeypatch.setattr(Small, "_gigabytes", fails)
    found.alone("float32")
    assert {row["name"] for row in found.rows} == {*NAMES} - {"robustness.regularizer"}
    assert (
        "not measured, since it fails: robustness.regularizer, float32 (CUDA out of memory.)" in capsys.readouterr().out
    )


def test_the_names_of_its_goals_are_those_of_trainings():
    planned = {row["name"] for row in timing_recipe(paper(), rounds=2)["rows"]}
    assert {*step_times.MILLISECONDS, *step_times.RATIOS, *step_times.SEVERAL} <= planned


@pytest.mark.skipif(torch.cuda.is_available(), reason="would measure the GPU")
def test_without_a_gpu_it_says_so_and_succeeds(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["step_times.py"])
    step_times.main()
    assert "no GPU" in capsys.readouterr().out
