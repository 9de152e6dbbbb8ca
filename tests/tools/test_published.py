"""The published results: what is committed of a run, and the numbers that pages take from it."""

import json
import math

import published
import pytest
import yaml
from configurations import ROOT, configured, read
from scipy import special

from lgg.pipeline.config import load
from lgg.reporting.seeds import read_seeds
from lgg.reporting.statistics import Summary, paired_difference, summarize
from lgg.training.checkpoint import load_model

if_published = pytest.mark.skipif(not published.RUN.exists(), reason="the run on CIFAR-10 is not published yet")


def if_table(name):
    return pytest.mark.skipif(not published.is_there(name), reason=f"{name} of CIFAR-10 is not published yet")


# --- what is committed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", published.PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_numbers_of_the_pages_are_those_of_the_published_files(page):
    text = page.read_text("utf-8")
    assert "<!-- published:" in text
    assert published.written(text) == text, "run: python tools/published.py"


@if_published
def test_published_results_are_those_of_the_committed_configuration():
    told = yaml.safe_load((published.RUN / "configuration.yaml").read_text("utf-8"))
    settings, whole = load(told), configured(read("cifar10-cpu.yaml"))
    committed = whole.model_dump(mode="json")
    missing = [name for name in published.SECTIONS if told[name] is None]
    assert missing != list(published.SECTIONS)
    loaded = settings.model_dump(mode="json")
    for one in (told, loaded, committed):  # the images are the same, wherever they come from; resources change nothing
        for key in ("source", "path", "class_names", "cifar10"):
            del one["data"][key]
        del one["resources"]
    assert loaded == told
    for one in (told, committed):
        for name in missing:  # not run yet
            del one[name]
    for name in {"distillation", "embedding", "robustness"}.difference(missing):
        seeds = settings.seeds_of(name)
        assert seeds == whole.seeds_of(name)[: len(seeds)]
        del told[name]["seeds"], committed[name]["seeds"]
    del told["seeds"], committed["seeds"]
    take_out_the_stronger_attack(told, committed)
    assert told == committed


def test_full_width_is_published_of_the_committed_configuration():
    folder = published.PUBLISHED / published.WIDE
    told = yaml.safe_load((folder / "configuration.yaml").read_text("utf-8"))
    committed = configured(read("cifar10-cpu.yaml"), read("full-width.yaml")).model_dump(mode="json")
    for one in (told, committed):
        for key in ("source", "path", "class_names", "cifar10"):
            del one["data"][key]
        del one["resources"]
    take_out_the_stronger_attack(told, committed)
    assert told == committed


@if_published
@pytest.mark.parametrize("name", [published.RUN.name, published.WIDE, published.LONGER])
def test_classes_have_the_names_of_cifar10_everywhere(name):
    folder = published.PUBLISHED / name
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    told = json.loads((folder / "provenance.json").read_text("utf-8"))
    assert [split["classes"] for split in told["data"].values()] == [names, names]
    configuration = yaml.safe_load((folder / "configuration.yaml").read_text("utf-8"))
    assert told["configuration"]["data"]["class_names"] == configuration["data"]["class_names"] == names
    if (geometry := folder / "geometry/geometry.json").is_file():
        assert set(json.loads(geometry.read_text("utf-8"))["shown"]["classes"]) <= set(names)


def take_out_the_stronger_attack(told, committed):
    """Take out the one setting that has changed since; what was run is said beside the results."""
    run, now = (one["robustness"]["tests"].pop("strong_pgd") for one in (told, committed))
    assert run == told["robustness"]["tests"]["pgd"]
    assert now["steps"] > run["steps"] and now["restarts"] > run["restarts"]


@pytest.mark.parametrize("name", [published.RUN.name, published.WIDE])
def test_the_page_says_where_the_stronger_attack_was_none(name):
    folder = published.PUBLISHED / name
    for path in folder.glob("robustness/*/seed*/evaluation.csv"):
        rows = published.pd.read_csv(path).set_index("test")
        same = ["value", "images", "restarts"]
        assert rows.loc["pgd", same].tolist() == rows.loc["strong_pgd", same].tolist()
    text = " ".join((published.PUBLISHED / "README.md").read_text("utf-8").split())
    assert "In `cifar10-cpu/` and `full-width/` the stronger PGD is PGD itself" in text


@if_table("table1")
@pytest.mark.parametrize("method", ["baseline", "hinton", "rkd_d", "gkd", "gkd_inter"])
def test_table1_summarises_the_published_seeds(method):
    row = published.read_table("table1").loc[method]
    for column in ("error", "agreement"):
        values = published.by_seed(method, column)
        assert sorted(values) == load(published.provenance()["configuration"]).seeds_of("distillation")
        expected = summarize(values.values())
        assert row[f"{column}_mean"] == pytest.approx(expected.mean, rel=1e-5)
        if expected.n > 1:
            assert row[f"{column}_std"] == pytest.approx(expected.std, rel=1e-5)


@if_published
def test_published_models_give_the_published_sizes():
    for path in sorted((published.RUN / "distillation").rglob("model.safetensors")):
        method = path.relative_to(published.RUN / "distillation").parts[0]
        model = load_model(path)
        parameters = sum(weight.numel() for weight in model.parameters())
        assert parameters == published.read_table("table1").loc[method, "parameters"]


@if_table("table1")
def test_all_students_and_their_teacher_are_published():
    folder = published.RUN / "distillation"
    found = {path.relative_to(folder).parts[0] for path in folder.rglob("model.safetensors")}
    assert found == set(published.read_table("table1").index)
    assert sum(path.stat().st_size for path in published.RUN.rglob("model.safetensors")) < 10_000_000


# --- publishing -------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "PUBLISHED", tmp_path / "results/published")
    folder = tmp_path / "results/mine"
    only = dict.fromkeys(("hinton", "rkd_d", "gkd_inter"))
    settings = configured({"run": "mine", "seeds": [2, 1], "timing": None, "distillation": {"methods": only}})
    for name in (
        *SMALL, "data/train.safetensors", "distillation/gkd/seed1/model.safetensors",
        "robustness/both/seed2/model.safetensors",
    ):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "provenance.json").write_text(json.dumps({"configuration": settings.model_dump(mode="json")}))
    return folder


SMALL = (
    "tables/table1.csv", "tables/table1.tex", "figures/table1.png", "figures/table1.pdf", "logs/train_teacher.log",
    "distillation/teacher/model.safetensors", "distillation/teacher/predictions.safetensors",
    "distillation/baseline/seed2/model.safetensors", "distillation/gkd/seed2/model.safetensors",
    "distillation/gkd/seed2/evaluation.csv", "distillation/gkd/seed1/evaluation.csv", "distillation/gkd/seed1/metrics.json",
    "robustness/both/seed2/evaluation.csv", "robustness/both/seed1/model.safetensors",
    "robustness/baseline/seed1000/model.safetensors", "robustness/both/seed1/corruptions.csv",
    "benchmarks/train_teacher.tsv",
)  # fmt: skip


def kept(run):
    folder = run.parent / "published/mine"
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_tables_figures_seeds_and_small_models_are_kept(run):
    published.publish(run)
    assert kept(run) == {"provenance.json", "configuration.yaml", *SMALL}
    assert yaml.safe_load((run.parent / "published/mine/configuration.yaml").read_text())["seeds"] == [2, 1]


def test_without_models_everything_else_is_kept(run):
    (run / "robustness/baseline/seed1000/model.safetensors").unlink()
    published.publish(run, with_models=False)
    models = {name for name in SMALL if name.endswith("model.safetensors")}
    assert kept(run) == {"provenance.json", "configuration.yaml", *SMALL} - models


def test_what_was_published_before_is_replaced(run):
    published.publish(run)
    (run / "tables/table1.csv").unlink()
    (run / "tables/table2.csv").touch()
    published.publish(run)
    assert "tables/table2.csv" in kept(run)
    assert "tables/table1.csv" not in kept(run)
    assert sorted(path.name for path in run.parent.iterdir()) == ["mine", "published"]


def test_a_run_that_has_not_ended_is_refused_and_nothing_is_lost(run):
    published.publish(run)
    before = kept(run)
    (run / "provenance.json").unlink()
    with pytest.raises(SystemExit, match="is not there"):
        published.publish(run)
    assert kept(run) == before


def test_a_run_without_a_network_that_is_published_is_refused(run):
    (run / "robustness/baseline/seed1000/model.safetensors").unlink()
    with pytest.raises(SystemExit, match=r"seed1000/model\.safetensors is not there"):
        published.publish(run)
    assert not (run.parent / "published/mine").exists()


def test_what_is_not_published_cannot_be_taken_up(run):
    with pytest.raises(SystemExit, match="nothing is published of this run"):
        published.take_up(run)


def test_results_that_are_there_are_not_written_over(run):
    published.publish(run)
    with pytest.raises(SystemExit, match="distillation, robustness is there already"):
        published.take_up(run)


def test_models_that_are_too_large_are_refused(run, monkeypatch):
    monkeypatch.setattr(published, "MOST_MODELS", 10)
    with pytest.raises(SystemExit, match="more than 10"):
        published.publish(run)
    assert not (run.parent / "published/mine").exists()


# --- what pages say ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "paper", "words"),
    [
        ([1.0, 1.1, 0.9], 2.0, "yes"),
        ([1.0, 1.1, 0.9], -2.0, "no: the contrary"),
        ([1.0, -0.5, 0.9], 2.0, "open: the same sign, within chance"),
        ([1.0, -0.5, 0.9], -2.0, "open: the other sign, within chance"),
        ([1.0], 2.0, "one seed: the same sign"),
        ([-1.0], math.inf, "one seed: the other sign"),
    ],
)
def test_a_claim_holds_where_its_interval_lies_on_the_paper_s_side(values, paper, words):
    assert published.verdict(summarize(values), paper) == words


def test_a_difference_that_is_undefined_says_nothing():
    undefined = Summary(0, *[math.nan] * 5)
    assert published.verdict(undefined, 1.0) == "undefined here"
    assert published.number(math.nan) == published.number(math.inf) == "–"


@if_table("table1")
def test_claims_on_students_are_of_the_published_figures():
    evaluations = {
        method: read_seeds(published.RUN.glob(f"distillation/{method}/seed*/evaluation.csv")).set_index("seed")["error"]
        for method in ("gkd", "rkd_d")
    }
    paper, found = claim("GKD's students err less than RKD-D's: error")
    assert paper == pytest.approx(9.71 - 10.05)
    assert found.mean == pytest.approx((evaluations["gkd"] - evaluations["rkd_d"]).mean())


@if_table("table3")
def test_claims_on_robust_networks_are_of_the_published_figures():
    paper, found = claim("The regulariser lowers the FGSM error: FGSM error")
    attacked = "test == 'fgsm_normalized' and level == 33"
    rows = [
        read_seeds(published.RUN.glob(f"robustness/{method}/seed*/evaluation.csv")).query(attacked)
        for method in ("regularizer", "baseline")
    ]
    assert paper == pytest.approx(49.5 - 66.3)
    assert found.mean == pytest.approx(rows[0]["value"].mean() - rows[1]["value"].mean(), rel=1e-5)


@if_table("table1")
def test_further_claims_on_students_are_of_the_table_s_means():
    rows = published.read_table("table1")
    paper, found = claim("GKD errs less with edges between classes alone than with all: error")
    assert paper == -math.inf
    assert found.mean == pytest.approx(rows.loc["gkd_inter", "error_mean"] - rows.loc["gkd", "error_mean"], abs=1e-4)
    ((text, paper, found),) = [one for one in published.list_claims() if one[0].startswith("GKD gains twice")]
    gains = rows["gain_mean"]
    assert paper == pytest.approx(0.63 - 2 * 0.29)
    assert found.mean == pytest.approx(gains["gkd"] - 2 * gains["rkd_d"], abs=1e-4)
    assert f"{gains['gkd'] / gains['rkd_d']:.2f} times" in text


@if_table("table3")
def test_further_claims_on_defences_are_of_the_table_s_means():
    rows, tests = published.read_table("table3"), published.read_table("robustness")
    for text, column in (
        ("The regulariser beats Parseval: FGSM error", "fgsm_normalized"),
        ("… and under corruptions: relative MCE", "relative_mce"),
    ):
        one, other = rows.loc["regularizer"], rows.loc["parseval"]
        paper, found = claim(text)
        assert paper == pytest.approx(one[f"paper_{column}"] - other[f"paper_{column}"])
        assert found.mean == pytest.approx(one[f"{column}_mean"] - other[f"{column}_mean"], abs=1e-3)
    paper, found = claim("… with weights cut to 5 bits: accuracy")
    assert paper == pytest.approx(49.7 - 24.5)
    means = tests["quantized_weights_mean"]
    assert found.mean == pytest.approx(means["regularizer"] - means["baseline"], abs=1e-3)


@if_table("table3")
def test_attacks_of_both_kinds_are_those_of_the_supplement():
    rows = published.read_table("table3_supplement")
    lines = [line.strip("| ").split(" | ") for line in published.masking().splitlines()[2:]]
    assert len(lines) == 2 * len(published.read_table("table3"))
    for label, attack, own, transferred, difference in lines:
        row = rows[rows["label"] == label].iloc[0]
        names = ("fgsm_pixels", "transfer_fgsm") if attack.startswith("FGSM") else ("pgd", "transfer_pgd")
        assert [float(own), float(transferred)] == [pytest.approx(row[f"{name}_mean"], abs=0.0051) for name in names]
        assert float(difference.split(" ")[0]) == pytest.approx(float(own) - float(transferred), abs=0.0101)


@if_table("table3")
def test_the_mean_over_corruptions_is_that_of_the_supplement():
    lines = published.by_corruption().split("\n\n")[0].splitlines()[2:]
    errors = [float(line.split(" | ")[1].split(" ")[0].replace("−", "-")) for line in lines]
    rows = published.read_table("table3_supplement")["mean_corruption_error_mean"]
    assert len(errors) == 15
    assert sum(errors) / 15 == pytest.approx(rows["regularizer"] - rows["baseline"], abs=0.0051)


def test_outputs_spread_evenly_over_a_circle_have_the_loss_of_its_integral():
    # (2/π) ∫ exp(−2α sin u) du from 0 to π/2
    assert f"have {special.iv(0, 4) - special.modstruve(0, 4):.3f}." in published.plane()


# --- sentences of the page, each by the files that it is about ------------------------------------------------------------


@if_table("table1")
def test_students_come_in_the_paper_s_order_in_each_seed_and_hinton_s_cannot_be_told_from_gkd_s():
    for column, sign in (("error", 1), ("agreement", -1)):
        gkd, rkd, baseline = (published.by_seed(name, column) for name in ("gkd", "rkd_d", "baseline"))
        assert all(sign * gkd[seed] < sign * rkd[seed] < sign * baseline[seed] for seed in gkd)
        found = paired_difference(published.by_seed("hinton", column), published.by_seed("gkd", column))
        assert found.ci95_low < 0 < found.ci95_high


@if_table("table3")
def test_at_the_paper_s_width_each_value_is_within_three_of_the_paper_s():
    rows = published.read_table("table3", published.WIDE)
    for column in ("clean_error", "fgsm_normalized", "relative_mce"):
        assert ((rows[f"{column}_mean"] - rows[f"paper_{column}"]).abs().dropna() < 3).all()
    together = rows.loc["both", ["fgsm_normalized_mean", "relative_mce_mean"]]
    assert (rows.drop("both")[together.index] > together).all(axis=None)


@if_table("table3")
def test_all_differences_of_table_3_have_the_paper_s_sign_and_one_is_open():
    texts = {text for name, text, *_ in published.COMPARED if name == "table3"}
    verdicts = [published.verdict(found, paper) for text, paper, found in published.list_claims() if text in texts]
    assert sorted(verdicts) == ["open: the same sign, within chance", *["yes"] * 5]


@if_table("table3")
def test_no_method_errs_more_on_images_crafted_on_another_network():
    for name in published.read_table("table3").index:
        for _, own, transferred in published.ATTACKS:
            assert paired_difference(published.attacked(name, own), published.attacked(name, transferred)).ci95_low > 0


@if_table("table2_supplement")
def test_every_classifier_finds_label_variation_more_than_four_points_behind():
    rows = published.read_table("table2_supplement")
    ours = rows[rows.index.str.startswith("label_variation/")]["clean_error_difference_mean"]
    assert len(ours) == 4 and (ours > 4).all()
    whole = published.read_table("table2").loc["label_variation"]
    assert whole["clean_error_difference_ci95_low"] < 0 < whole["plain_mce_difference_ci95_low"]


@if_published
def test_graphs_are_told_as_they_are():
    told = json.loads((published.RUN / "geometry/geometry.json").read_text("utf-8"))
    last = list(told["label_variation"].values())[-1]
    assert last[0] == max(last)
    assert "the largest of all draws" in published.first_draw()
    shown = [depth["label_variation"] for depth in told["shown"]["depths"].values()]
    assert shown[-1] < shown[0] and sorted(shown, reverse=True) != shown


@if_table("table2")
def test_lengths_are_compared_by_the_errors_of_each_run():
    lines = [line.split(" | ") for line in published.length().splitlines()[2:-1]]
    assert [line[0].removeprefix("| ") for line in lines] == [
        "¼ of the width, 16 epochs",
        "¼ of the width, 32 epochs",
        "full width, 32 epochs",
    ]
    for line, run in zip(lines, (published.RUN.name, published.LONGER, published.WIDE), strict=True):
        errors = [
            read_seeds((published.PUBLISHED / run).glob(f"embedding/{method}/seed*/evaluation.csv"))
            .query(f"classifier == '{classifier}'")["error"]
            .mean()
            for method, classifier in (("cross_entropy", "own"), ("label_variation", "nearest_neighbours"))
        ]
        for cell, error in zip(line[1:3], errors, strict=True):
            assert float(cell.split(" ")[0]) == pytest.approx(error, abs=0.0051)
        assert float(line[3].replace("−", "-")) == pytest.approx(errors[1] - errors[0], abs=0.0051)


@pytest.mark.parametrize(
    ("rule", "job", "place"),
    [
        ("train_teacher", "", "distillation/teacher"),
        ("distill_student", "gkd_inter_seed1", "distillation/gkd_inter/seed1"),
        ("train_plane_embedding", "label_variation", "embedding/figureA1/label_variation"),
        ("train_robust_network", "baseline_seed1000", "robustness/baseline/seed1000"),
    ],
)
def test_a_training_s_metrics_say_what_it_worked_on(rule, job, place, tmp_path, monkeypatch):
    monkeypatch.setattr(published, "RUN", tmp_path)
    assert published.device_of(rule, job) == "CPU"
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "metrics.json").write_text(json.dumps({"device": "A GPU"}))
    assert published.device_of(rule, job) == "A GPU"
    assert published.device_of("evaluate_student", job) == "CPU"


def test_every_published_training_s_device_is_found():
    jobs = published.pd.read_csv(published.RUN / "tables/job_times.csv").fillna({"job": ""})
    trained = jobs[jobs["rule"].isin(published.TRAINED)]
    assert len(trained) == len(list(published.RUN.rglob("metrics.json")))
    for rule, job in zip(trained["rule"], trained["job"], strict=True):
        assert (published.RUN / published.TRAINED[rule] / job.replace("_seed", "/seed") / "metrics.json").is_file()


def claim(text):
    (found,) = [(paper, found) for name, paper, found in published.list_claims() if name == text]
    return found


def test_pages_leave_out_what_was_not_run(run, monkeypatch):
    monkeypatch.setattr(published, "RUN", run)
    told = json.loads((run / "provenance.json").read_text("utf-8"))
    told["configuration"]["embedding"] = None
    (run / "provenance.json").write_text(json.dumps(told))
    (run / "tables/table1.csv").unlink()
    assert published.list_claims() == []
    assert published.tables() == ""
    assert published.figures() == f"![{published.FIGURES['table1']}]({published.LINK}/figures/table1.png)\n"
    assert published.depth() == published.NOT_YET
    header, _, said = published.summary().split("\n", 2)
    assert header == "| what | method | here | paper | seeds |"
    assert said == "\nNot run yet: the sections embedding, timing.\n"


def test_only_the_text_between_the_marks_is_written(monkeypatch):
    monkeypatch.setitem(published.BLOCKS, "estimate", lambda: "new\n")
    page = "before\n<!-- published: estimate -->\nold\n<!-- end -->\nafter\n"
    assert published.written(page) == "before\n<!-- published: estimate -->\n\nnew\n\n<!-- end -->\nafter\n"
    assert published.written(published.written(page)) == published.written(page)
