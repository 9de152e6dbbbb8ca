"""The published results: the committed part of a run, and the numbers that pages quote from it."""

import json
import math
import re
from dataclasses import replace

import pandas as pd
import pytest
import yaml
from configurations import ROOT, configured, read
from publishing import claims, details, pages
from publishing.comparisons import length, summary, three
from publishing.conditions import TRAINED, device_of, network_of, trained_devices
from publishing.places import LONGER, MAIN, PROVENANCE, PUBLISHED, SECTIONS, TRAINED_IN_SECTIONS, WIDE
from publishing.published_run import Published
from publishing.text import NOT_YET, number
from publishing.write import publish
from scipy import special

from lgg.files import write_json, write_text
from lgg.pipeline.config import load
from lgg.reporting.statistics import Summary, paired_difference, summarize
from lgg.training.checkpoint import load_model

PUBLICATION = Published(PUBLISHED)
RUN = PUBLICATION.main

if_published = pytest.mark.skipif(not RUN.exists, reason="the run on CIFAR-10 is not published yet")


def if_table(name):
    return pytest.mark.skipif(not RUN.has(name), reason=f"{name} of CIFAR-10 is not published yet")


# --- what is committed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_numbers_of_the_pages_are_those_of_the_published_files(page):
    text = page.read_text("utf-8")
    assert "<!-- published:" in text
    assert pages.written(text, PUBLICATION) == text, "run: python tools/published.py"


@if_published
def test_published_results_are_those_of_the_committed_configuration():
    recorded = configuration_of(MAIN)
    committed = configured(read("cifar10-cpu.yaml")).model_dump(mode="json")
    missing = [name for name in SECTIONS if recorded[name] is None]
    assert missing != list(SECTIONS)
    loaded = load(recorded).model_dump(mode="json")
    for one in (
        recorded,
        loaded,
        committed,
    ):  # the images are the same, wherever they come from; resources change nothing
        for key in ("source", "path", "class_names", "cifar10"):
            del one["data"][key]
        del one["resources"]
    assert loaded == recorded
    for one in (recorded, committed):
        for name in missing:  # not run yet
            del one[name]
    for name in set(TRAINED_IN_SECTIONS).difference(missing):
        seeds, all_seeds = (one[name].pop("seeds") or one["seeds"] for one in (recorded, committed))
        assert seeds == all_seeds[: len(seeds)]
    del recorded["seeds"], committed["seeds"]
    take_out_the_stronger_attack(recorded, committed)
    assert recorded == committed


def test_full_width_is_published_of_the_committed_configuration():
    recorded = configuration_of(WIDE)
    committed = configured(read("cifar10-cpu.yaml"), read("full-width.yaml")).model_dump(mode="json")
    for one in (recorded, committed):
        for key in ("source", "path", "class_names", "cifar10"):
            del one["data"][key]
        del one["resources"]
    take_out_the_stronger_attack(recorded, committed)
    assert recorded == committed


@if_published
@pytest.mark.parametrize("name", [MAIN, WIDE, LONGER])
def test_classes_have_the_names_of_cifar10_everywhere(name):
    folder = PUBLISHED / name
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    recorded = json.loads((folder / PROVENANCE).read_text("utf-8"))
    assert [split["classes"] for split in recorded["data"].values()] == [names, names]
    assert configuration_of(name)["data"]["class_names"] == names
    if (geometry := folder / "geometry/geometry.json").is_file():
        assert set(json.loads(geometry.read_text("utf-8"))["shown"]["classes"]) <= set(names)


def configuration_of(name):
    return yaml.safe_load((PUBLISHED / name / "configuration.yaml").read_text("utf-8"))


def take_out_the_stronger_attack(recorded, committed):
    """Remove the one setting that has changed since; the page on published results states what was run."""
    run, now = (one["robustness"]["tests"].pop("strong_pgd") for one in (recorded, committed))
    assert run == recorded["robustness"]["tests"]["pgd"]
    assert now["steps"] > run["steps"] and now["restarts"] > run["restarts"]


@pytest.mark.parametrize("name", [MAIN, WIDE])
def test_the_page_says_where_the_stronger_attack_was_none(name):
    found = PUBLICATION.run(name).seeds("robustness", "evaluation")
    plain, strong = (
        found[found["test"] == test].set_index(["method", "seed"])[["value", "images", "restarts"]]
        for test in ("pgd", "strong_pgd")
    )
    assert len(plain) == {MAIN: 15, WIDE: 4}[name]
    assert plain.equals(strong)
    text = " ".join((PUBLISHED / "README.md").read_text("utf-8").split())
    assert "In `cifar10-cpu/` and `full-width/` the stronger PGD is PGD itself" in text


@if_table("table1")
@pytest.mark.parametrize("method", ["baseline", "hinton", "rkd_d", "gkd", "gkd_inter"])
def test_table1_summarises_the_published_seeds(method):
    row = RUN.table("table1")[method]
    for column in ("error", "agreement"):
        values = RUN.student(method, column)
        assert sorted(values) == (RUN.settings["distillation"]["seeds"] or RUN.settings["seeds"])
        expected = summarize(values.values())
        assert row[f"{column}_mean"] == pytest.approx(expected.mean, rel=1e-5)
        if expected.n > 1:
            assert row[f"{column}_std"] == pytest.approx(expected.std, rel=1e-5)


@if_published
def test_published_models_give_the_published_sizes():
    for path in sorted((RUN.folder / "distillation").rglob("model.safetensors")):
        method = path.relative_to(RUN.folder / "distillation").parts[0]
        model = load_model(path)
        parameters = sum(weight.numel() for weight in model.parameters())
        assert parameters == RUN.table("table1")[method]["parameters"]


@if_table("table1")
def test_all_students_and_their_teacher_are_published():
    folder = RUN.folder / "distillation"
    found = {path.relative_to(folder).parts[0] for path in folder.rglob("model.safetensors")}
    assert found == set(RUN.table("table1"))
    assert sum(path.stat().st_size for path in RUN.folder.rglob("model.safetensors")) < 10_000_000


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
    assert claims.verdict(summarize(values), paper) == words


def test_an_open_claim_names_the_seeds_that_would_decide_it():
    assert claims.deciding(summarize([1.0, -0.5, 0.9])) == "; 28 seeds would decide it"  # mean 0.47, deviation 0.84
    assert claims.deciding(summarize([1.0, 1.1, 0.9])) == claims.deciding(summarize([1.0])) == ""
    assert claims.deciding(summarize([1.0, -1.0])) == "; a thousand seeds would not decide it"


@if_table("table1")
def test_each_run_answers_the_claims_on_its_tables():
    header, _, *lines = claims.claims_by_run(PUBLICATION).splitlines()
    titles = [cell.strip() for cell in header.strip("|").split("|")][1:]
    cells = {line.strip("| ").split(" | ")[0]: line.strip("| ").split(" | ")[1:] for line in lines}
    assert set(cells) >= {claim.text for claim in claims.list_claims(RUN)}
    runs = {title.partition(":")[0]: place for place, title in enumerate(titles)}
    text = "GKD's students err less than RKD-D's: error"
    authors = PUBLICATION.authors
    difference = paired_difference(authors.student("gkd", "error"), authors.student("rkd_d", "error"))
    assert cells[text][runs["the authors' networks"]].startswith(f"yes (−{abs(difference.mean):.2f} [")
    assert cells[text][runs["here, full width"]] == "–"
    assert cells["The regularizer beats Parseval: FGSM error"][runs["here, full width"]].startswith("alone: ")


def test_a_difference_that_is_undefined_says_nothing():
    undefined = Summary(0, *[math.nan] * 5)
    assert claims.verdict(undefined, 1.0) == "undefined here"
    assert number(math.nan) == number(math.inf) == "–"


@if_table("table1")
def test_claims_on_students_are_of_the_published_figures():
    rows = RUN.rows("distillation", "evaluation").dropna(subset="seed").set_index("seed")
    evaluations = {method: own["error"] for method, own in rows.groupby("method")}
    paper, found = claim("GKD's students err less than RKD-D's: error")
    assert paper == pytest.approx(9.71 - 10.05)
    assert found.mean == pytest.approx((evaluations["gkd"] - evaluations["rkd_d"]).mean())


@if_table("table3")
def test_claims_on_robust_networks_are_of_the_published_figures():
    paper, found = claim("The regularizer lowers the FGSM error: FGSM error")
    rows = RUN.rows("robustness", "evaluation").query("test == 'fgsm_normalized' and level == 33")
    means = rows.groupby("method")["value"].mean()
    assert paper == pytest.approx(49.5 - 66.3)
    assert found.mean == pytest.approx(means["regularizer"] - means["baseline"], rel=1e-5)


@if_table("table1")
def test_further_claims_on_students_are_of_the_table_s_means():
    rows = RUN.table("table1")
    paper, found = claim("GKD errs less with edges between classes alone than with all: error")
    assert paper == -math.inf
    assert found.mean == pytest.approx(rows["gkd_inter"]["error_mean"] - rows["gkd"]["error_mean"], abs=1e-4)
    ((_, paper, found),) = [one for one in claims.list_claims(RUN) if one[0].startswith("GKD gains twice")]
    gains = {name: row["gain_mean"] for name, row in rows.items()}
    assert paper == pytest.approx(0.63 - 2 * 0.29)
    assert found.mean == pytest.approx(gains["gkd"] - 2 * gains["rkd_d"], abs=1e-4)


@if_table("table3")
def test_further_claims_on_defences_are_of_the_table_s_means():
    rows, tests = RUN.table("table3"), RUN.table("robustness")
    for text, column in (
        ("The regularizer beats Parseval: FGSM error", "fgsm_normalized"),
        ("… and under corruptions: relative MCE", "relative_mce"),
    ):
        one, other = rows["regularizer"], rows["parseval"]
        paper, found = claim(text)
        assert paper == pytest.approx(one[f"paper_{column}"] - other[f"paper_{column}"])
        assert found.mean == pytest.approx(one[f"{column}_mean"] - other[f"{column}_mean"], abs=1e-3)
    paper, found = claim("… with weights cut to 5 bits: accuracy")
    assert paper == pytest.approx(49.7 - 24.5)
    means = [tests[name]["quantized_weights_mean"] for name in ("regularizer", "baseline")]
    assert found.mean == pytest.approx(means[0] - means[1], abs=1e-3)


@if_table("table3")
def test_attacks_of_both_kinds_are_those_of_the_supplement():
    rows = {row["label"]: row for row in RUN.table("table3_supplement").values()}
    lines = [line.strip("| ").split(" | ") for line in details.masking(PUBLICATION).splitlines()[2:]]
    assert len(lines) == 2 * len(RUN.table("table3"))
    for label, attack, own, transferred, difference in lines:
        row = rows[label]
        names = ("fgsm_pixels", "transfer_fgsm") if attack.startswith("FGSM") else ("pgd", "transfer_pgd")
        assert [float(own), float(transferred)] == [pytest.approx(row[f"{name}_mean"], abs=0.0051) for name in names]
        assert float(difference.split(" ")[0]) == pytest.approx(float(own) - float(transferred), abs=0.0101)


@if_table("table3")
def test_the_mean_over_corruptions_is_that_of_the_supplement():
    lines = details.by_corruption(PUBLICATION).split("\n\n")[0].splitlines()[2:]
    errors = [float(line.split(" | ")[1].split(" ")[0].replace("−", "-")) for line in lines]
    rows = {name: row["mean_corruption_error_mean"] for name, row in RUN.table("table3_supplement").items()}
    assert len(errors) == 15
    assert sum(errors) / 15 == pytest.approx(rows["regularizer"] - rows["baseline"], abs=0.0051)


def test_figure_a1_is_reported_with_its_reference_levels_and_errors(run, published):
    write_text(
        run / "embedding/figureA1/errors.csv",
        "classifier,method,label,epoch,images,error\n"
        "nearest_neighbours,label_variation,Label variation,0,10,90.0\n"
        "nearest_neighbours,label_variation,Label variation,4,10,33.25\n"
        "nearest_neighbours,cross_entropy,Cross-entropy,0,10,91.0\n"
        "nearest_neighbours,cross_entropy,Cross-entropy,4,10,30.5\n",
    )
    recipe = {"options": {"normalize_embeddings": True}, "dimensions": 2, "training": {"batch_size": 256}}
    write_json(run / "embedding/figureA1/label_variation/metrics.json", {"recipe": recipe})
    provenance = json.loads((run / "provenance.json").read_text("utf-8"))
    write_json(run / "provenance.json", provenance | {"data": {"train": {"classes": ["a", "b"]}}})
    publish(run, published.folder)
    text = details.plane(replace(published, main_name=run.name))
    sentence, table = text.split("\n\n")
    # on a circle (2/π) ∫ exp(−2α sin u) du from 0 to π/2, and exp(−2α) at its two ends
    even, apart = map(float, re.findall(r"have ([.\d]+), .* apart (0[.]\d+)", sentence)[0])
    assert even == pytest.approx(special.iv(0, 4) - special.modstruve(0, 4), abs=0.002)
    assert apart == pytest.approx(math.exp(-4), abs=0.001)
    assert [line.strip("| ").split(" | ") for line in table.splitlines()[2:]] == [
        ["Label variation", "90.00", "33.25"],
        ["Cross-entropy", "91.00", "30.50"],
    ]


# --- sentences of the page, each by the files that it is about ------------------------------------------------------------


@if_table("table1")
def test_students_are_in_the_paper_s_order_for_each_seed_and_hinton_equals_gkd_within_noise():
    for column, sign in (("error", 1), ("agreement", -1)):
        gkd, rkd, baseline = (RUN.student(name, column) for name in ("gkd", "rkd_d", "baseline"))
        assert all(sign * gkd[seed] < sign * rkd[seed] < sign * baseline[seed] for seed in gkd)
        found = paired_difference(RUN.student("hinton", column), RUN.student("gkd", column))
        assert found.ci95_low < 0 < found.ci95_high


@if_table("table3")
def test_at_the_paper_s_width_each_value_is_within_three_of_the_paper_s():
    rows = PUBLICATION.wide.table("table3")
    printed = [
        (row[f"{measure}_mean"], row[f"paper_{measure}"])
        for row in rows.values()
        for measure in ("clean_error", "fgsm_normalized", "relative_mce")
        if not math.isnan(row[f"paper_{measure}"])
    ]
    assert len(printed) == 9
    assert all(abs(here - paper) < 3 for here, paper in printed)
    together = rows.pop("both")
    for measure in ("fgsm_normalized_mean", "relative_mce_mean"):
        assert all(row[measure] > together[measure] for row in rows.values())


@if_table("table3")
def test_all_differences_of_table_3_have_the_paper_s_sign_and_one_is_open():
    texts = {text for name, text, *_ in claims.COMPARED if name == "table3"}
    verdicts = [claims.verdict(found, paper) for text, paper, found in claims.list_claims(RUN) if text in texts]
    assert sorted(verdicts) == ["open: the same sign, within chance", *["yes"] * 5]


@if_table("table3")
def test_no_method_errs_more_on_images_crafted_on_another_network():
    for name in RUN.table("table3"):
        for _, own, transferred in details.ATTACKS:
            assert paired_difference(RUN.attacked(name, own), RUN.attacked(name, transferred)).ci95_low > 0


@if_table("table2_supplement")
def test_no_classifier_changes_the_error_of_label_variation_by_a_point():
    rows = RUN.table("table2_supplement")
    errors = [row["clean_error_mean"] for name, row in rows.items() if name.startswith("label_variation/")]
    assert len(errors) == 4 and max(errors) - min(errors) < 1


@if_table("table2")
def test_the_gap_to_cross_entropy_is_half_of_what_outputs_of_unit_length_leave():
    rows = RUN.table("table2")
    gap, before = (rows[name]["clean_error_difference_mean"] for name in ("label_variation", "label_variation_unit"))
    assert gap / before == pytest.approx(0.5, abs=0.05) and before > 4
    paper = rows["label_variation"]["paper_clean_error"] - rows["cross_entropy"]["paper_clean_error"]
    assert gap / paper == pytest.approx(4, abs=0.5)


@if_table("table2")
def test_attraction_errs_more_in_each_seed():
    errors = RUN.rows("embedding", "evaluation").query("classifier == 'nearest_neighbours'")
    corrupted = RUN.rows("embedding", "corruptions").query("classifier == 'nearest_neighbours'")
    for found in (errors, corrupted):
        mean = found.groupby(["method", "seed"])["error"].mean()
        assert all(mean["label_variation_attraction", seed] > mean["label_variation", seed] for seed in (0, 1))


@if_published
def test_label_variation_separates_classes_in_the_plane_nearly_as_well_as_cross_entropy():
    errors = pd.read_csv(RUN.folder / "embedding/figureA1/errors.csv").set_index(["method", "epoch"])["error"]
    assert set(errors.index.get_level_values("epoch")) == {0, 1, 4, 8, 16, 32}
    gap = errors["label_variation", 32] - errors["cross_entropy", 32]
    assert 0 < gap < 1
    assert all(errors[method, 0] > 80 and errors[method, 32] < 15 for method in ("label_variation", "cross_entropy"))


@if_published
def test_graphs_are_described_as_they_are():
    geometry = json.loads((RUN.folder / "geometry/geometry.json").read_text("utf-8"))
    last = list(geometry["label_variation"].values())[-1]
    assert last[0] == max(last)
    assert "the largest of all draws" in details.first_draw(geometry)
    shown = [depth["label_variation"] for depth in geometry["shown"]["depths"].values()]
    assert shown[-1] < shown[0] and sorted(shown, reverse=True) != shown


@if_table("table2")
def test_lengths_are_compared_by_the_errors_of_each_run():
    lines = [line.strip("| ").split(" | ") for line in length(PUBLICATION).splitlines()[2:-1]]
    titles = {
        "¼ of the width, 16 epochs": RUN,
        "¼ of the width, 32 epochs": PUBLICATION.longer,
        "full width, 32 epochs": PUBLICATION.wide,
    }
    assert list(dict.fromkeys(line[0] for line in lines)) == list(titles)
    for title, run in titles.items():
        means = run.rows("embedding", "evaluation").groupby(["method", "classifier"])["error"].mean()
        theirs = means["cross_entropy", "own"]
        methods = [name for name in run.table("table2") if name.startswith("label_variation")]
        own = [line[1:] for line in lines if line[0] == title]
        assert len({line[0] for line in own}) == len(own), "rows differ by how outputs are normalised"
        for method, cells in zip(methods, own, strict=True):
            ours = means[method, "nearest_neighbours"]
            for cell, error in zip(cells[1:3], (theirs, ours), strict=True):
                assert float(cell.split(" ")[0]) == pytest.approx(error, abs=0.0051)
            assert float(cells[3].replace("−", "-")) == pytest.approx(ours - theirs, abs=0.0051)


@pytest.mark.parametrize(
    ("rule", "job", "place"),
    [
        ("train_teacher", "", "distillation/teacher"),
        ("distill_student", "gkd_inter_seed1", "distillation/gkd_inter/seed1"),
        ("train_plane_embedding", "label_variation", "embedding/figureA1/label_variation"),
        ("train_robust_network", "baseline_seed1000", "robustness/baseline/seed1000"),
    ],
)
def test_a_job_s_device_is_that_of_the_network_it_trains(rule, job, place):
    assert network_of(rule, job) == place
    assert device_of({}, rule, job) == "CPU"
    assert device_of({place: "A GPU (some driver)"}, rule, job) == "A GPU"
    assert device_of({place: "A GPU"}, "evaluate_student", job) == "CPU"


@if_published
def test_every_published_network_s_device_is_found():
    jobs = RUN.job_times()
    trained = jobs[jobs["rule"].isin(TRAINED)]
    assert {network_of(rule, job) for rule, job in zip(trained["rule"], trained["job"], strict=True)} == set(
        trained_devices(RUN)
    )
    assert len(trained) == 43


def claim(text):
    (found,) = [(paper, found) for name, paper, found in claims.list_claims(RUN) if name == text]
    return found


def test_pages_leave_out_what_was_not_run(run, published):
    publish(run, published.folder)
    mine = replace(published, main_name=run.name)
    settings = yaml.safe_load((mine.main.folder / "configuration.yaml").read_text("utf-8"))
    settings["embedding"] = None
    (mine.main.folder / "configuration.yaml").write_text(yaml.safe_dump(settings))
    for name in ("tables/table1.csv", "figures/figureA1.png", "geometry/geometry.json"):
        (mine.main.folder / name).unlink()
    assert claims.list_claims(mine.main) == []
    assert pages.tables(mine) == ""
    assert pages.figures(mine) == f"![{pages.FIGURES['table1']}]({pages.LINK}/figures/table1.png)\n"
    assert details.depth(mine) == details.plane(mine) == NOT_YET
    header, _, missing = summary(mine).split("\n", 2)
    assert header == "| what | method | here | paper | seeds |"
    assert missing == "\nNot run yet: the sections embedding, timing.\n"


def test_only_the_text_between_the_marks_is_written(monkeypatch):
    monkeypatch.setitem(pages.BLOCKS, "estimate", lambda _: "new\n")
    page = "before\n<!-- published: estimate -->\nold\n<!-- end -->\nafter\n"
    once = pages.written(page, PUBLICATION)
    assert once == "before\n<!-- published: estimate -->\n\nnew\n\n<!-- end -->\nafter\n"
    assert pages.written(once, PUBLICATION) == once


def test_the_page_states_that_nothing_is_published(tmp_path):
    page = "<!-- published: summary -->\n<!-- end -->\n"
    assert NOT_YET in pages.written(page, Published(tmp_path))


@if_table("table3")
def test_the_three_results_of_the_front_page_are_those_of_the_summary():
    lines = [line.strip("| ").split(" | ") for line in three(PUBLICATION).splitlines()[2:]]
    whole = [line.strip("| ").split(" | ") for line in summary(PUBLICATION).splitlines()[2:]]
    assert [line[0].rsplit(", ", 1)[1] for line in lines] == ["Table 1", "Table 2", "Table 3"]
    for text, baseline, method, baseline_paper, method_paper, seeds in lines:
        label, rest = text.split(": ")
        measure, table = rest.rsplit(", ", 1)
        what = f"{table}: {measure}"
        assert [what, label, method, method_paper, seeds] in whole
        assert any(line[0] == what and line[2:4] == [baseline, baseline_paper] for line in whole)
