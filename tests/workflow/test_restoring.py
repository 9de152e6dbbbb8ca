"""Published seeds count as finished, even if nothing else is left of the run."""

import shutil

import pytest
from configurations import configured
from expected_jobs import every_job
from publishing.restore import restore
from publishing.write import publish
from snakemake_runs import DIGITS, ROOT, plan, snakemake, write_overlay
from test_reruns import NEW_SEED

pytestmark = pytest.mark.pipeline

SETTINGS = configured((ROOT / DIGITS).read_text(encoding="utf-8"))


@pytest.fixture
def elsewhere(copy_of_finished):
    """Return a checkout with only the published part of a finished run."""
    run = copy_of_finished / "results" / SETTINGS.run
    publish(run, copy_of_finished / "results/published")
    shutil.rmtree(run)
    shutil.rmtree(copy_of_finished / ".snakemake")
    return copy_of_finished


def test_a_new_seed_trains_its_own_networks_and_keeps_published_ones(elsewhere, tmp_path):
    run = elsewhere / "results" / SETTINGS.run
    with pytest.raises(SystemExit, match="run the rule prepare_data first"):
        restore(run, run.parent / "published")
    assert plan(elsewhere) == every_job(SETTINGS)
    done = snakemake(elsewhere, "prepare_data", "--cores", "1")
    assert done.returncode == 0, done.stdout
    restore(run, run.parent / "published")
    shown = {job: count for job, count in every_job(SETTINGS).items() if job.startswith(("assemble_", "draw_"))}
    del shown["draw_figureA1"]
    assert plan(elsewhere) == shown
    assert plan(elsewhere, configs=(DIGITS, write_overlay(tmp_path, "seeds: [0, 1, 2]"))) == NEW_SEED | shown


def test_results_of_other_images_are_not_restored(elsewhere, tmp_path):
    overlay = write_overlay(tmp_path, "data: {seed: 1}")
    done = snakemake(elsewhere, "prepare_data", "--cores", "1", configs=(DIGITS, overlay))
    assert done.returncode == 0, done.stdout
    with pytest.raises(SystemExit, match="not the images of the published results"):
        restore(elsewhere / "results" / SETTINGS.run, elsewhere / "results/published")
