"""The figures in config/paper.yaml: which are read, refused and shown."""

import math

import pytest
import yaml
from configurations import CONFIG, configured, read
from hypothesis import given
from hypothesis import strategies as st

from lgg.errors import ConfigError
from lgg.pipeline.config import Corruptions, Paper, RobustnessTests, read_paper
from lgg.pipeline.config.paper import TABLES, constants_of_the_paper
from lgg.reporting.measures import MEASURES

COMMITTED = read("paper.yaml")


def written(folder, content):
    path = folder / "paper.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, allow_unicode=True), "utf-8")
    return path


def refusal(folder, content, *overlays):
    with pytest.raises(ConfigError) as caught:
        read_paper(written(folder, content), configured(*overlays))
    return str(caught.value)


# --- what is committed ------------------------------------------------------------------------------------------------


def test_every_committed_figure_is_of_a_method_of_the_demonstration():
    configuration = configured()
    names = {
        "table1": {"teacher", *configuration.distillation.active_methods},
        "table2": set(configuration.embedding.active_methods),
        "table3": set(configuration.robustness.active_methods),
        "robustness": set(configuration.robustness.active_methods),
        "tableA1": {f"{section}.{name}" for section, name in configuration.timed_methods},
    }
    assert set(COMMITTED) == set(TABLES) == set(names)
    assert all(set(rows) <= names[table] for table, rows in COMMITTED.items())


@pytest.mark.parametrize(
    ("table", "method", "figures"),
    [
        ("table1", "teacher", {"error": 7.27}),
        ("table1", "rkd_d", {"error": 10.05, "gain": 0.29}),
        ("table2", "cross_entropy", {"clean_error": 5.06, "relative_mce": 100}),
        ("table3", "parseval", {"clean_error": 10.3, "fgsm_normalized": 55.0, "relative_mce": 104.4}),
        ("tableA1", "robustness.adversarial", {"epoch_seconds": 369}),
        ("table1", "hinton", {}),
    ],
)
def test_a_row_has_the_figures_of_the_file(table, method, figures):
    assert read_paper(CONFIG / "paper.yaml", configured()).row(table, method) == figures


def test_gains_of_table_1_are_the_differences_of_its_errors():
    table = COMMITTED["table1"]
    for row in table.values():
        if "gain" in row:
            assert row["gain"] == pytest.approx(table["baseline"]["error"] - row["error"])


# --- which are shown --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", ["{source: arrays, path: x}", "{source: image_folder, path: x}", "{source: cifar100}"])
def test_your_own_images_have_none_of_the_paper_s_figures(data):
    all_images = "{corruptions: {images: null}, robustness: {tests: {images: null, deepfool_images: 0}}}"
    assert read_paper(CONFIG / "paper.yaml", configured(f"data: {data}", all_images)) == Paper()


@pytest.mark.parametrize(
    "data",
    ["{source: photo_patches}", "{source: digits}", "{source: cifar10}", "{source: arrays, path: x, cifar10: true}"],
)
def test_cifar_10_and_the_demonstration_have_all_of_them(data):
    assert read_paper(CONFIG / "paper.yaml", configured(f"data: {data}")).figures == COMMITTED


def test_an_empty_file_has_no_figures_and_a_missing_one_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"paper\.yaml: there is no such file"):
        read_paper(tmp_path / "paper.yaml", configured())
    assert read_paper(written(tmp_path, "# nothing\n"), configured()) == Paper()


ALL = {"corruptions", *RobustnessTests.model_fields}


def test_the_defaults_are_the_paper_s_constants():
    assert constants_of_the_paper(RobustnessTests(), Corruptions()) == ALL
    assert constants_of_the_paper(None, Corruptions()) == {"corruptions"}
    assert constants_of_the_paper(None, None) == set()


@given(st.sets(st.sampled_from(sorted(ALL))))
def test_a_row_has_the_figures_all_of_whose_constants_are_the_paper_s(constants):
    paper = Paper(COMMITTED)
    for table, rows in COMMITTED.items():
        for method, row in rows.items():
            shown = paper.row(table, method, constants)
            assert shown.items() <= row.items()
            for measure in row:
                assert (measure in shown) == (set(MEASURES[measure].constants) <= constants)


# --- which are refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("{table4: {}}", "table4: unknown table; did you mean 'table"),
        ("{table1: {gkd: {eror: 9}}}", "table1.gkd.eror: unknown measure of table1; did you mean 'error'? Valid: "),
        ("{table2: {triplet: {epoch_seconds: 9}}}", "table2.triplet.epoch_seconds: unknown measure of table2"),
        (
            "{table1: {gkd: {agreement: 90}}}",
            "table1.gkd.agreement: unknown measure of table1",
        ),  # in no table of the paper
        ("{table1: {gkd: {error: many}}}", "table1.gkd.error: expected a number, found 'many'"),
        ("{table1: {gkd: {error: true}}}", "table1.gkd.error: expected a number, found True"),
        ("{table1: {gkd: {error: null}}}", "table1.gkd.error: expected a number, found nothing"),
        ("{table1: {gkd: {error: .nan}}}", "table1.gkd.error: expected a number, found nan"),
        ("{table1: {gkd: {error: 130}}}", "table1.gkd.error: expected a percentage from -100 to 100, found 130"),
        ("{table1: {gkd: 9.7}}", "table1.gkd: expected measures and values, found 9.7"),
        ("{table1: [9.7]}", "table1: expected methods, found [9.7]"),
        ("[table1]", "expected tables, found ['table1']"),
        ("{table1: {gkd_iner: {error: 9}}}", "table1.gkd_iner: unknown method; did you mean 'gkd_inter'?"),
        ("{table1: {techer: {error: 9}}}", "table1.techer: unknown method; did you mean 'teacher'?"),
        ("{tableA1: {parseval: {epoch_seconds: 9}}}", "tableA1.parseval: 'parseval' is not SECTION.METHOD"),
        (
            "{tableA1: {robustness.parsevl: {epoch_seconds: 9}}}",
            "tableA1.robustness.parsevl: unknown method; did you mean 'robustness.parseval'?",
        ),
        ('{table1: {"two\\nlines": {error: x}}}', "table1.'two\\nlines'.error: expected a number"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_would_be_right(tmp_path, content, line):
    # a mistake is reported whatever the images are
    for overlay in ("{}", "data: {source: arrays, path: x}"):
        first, reported, form, *rest = refusal(tmp_path, content, overlay).split("\n")
        assert first == f"{tmp_path / 'paper.yaml'} has a mistake:"
        assert reported.startswith(f"  {line}")
        assert form.endswith("Nothing was run.") and not rest


def test_all_mistakes_are_reported_at_once(tmp_path):
    message = refusal(tmp_path, {"table1": {"gkd": {"eror": 1, "gain": "x"}}, "tables": {}})
    assert "has 3 mistakes:" in message
    assert all(key in message for key in ("table1.gkd.eror: ", "table1.gkd.gain: ", "tables: "))


def test_what_is_not_yaml_is_refused(tmp_path):
    assert "is not YAML" in refusal(tmp_path, "{table1: ")


@pytest.mark.parametrize("name", ["mine", "hinton", "regularizer"])
def test_rows_that_a_run_does_not_have_may_be_in_the_file(tmp_path, name):
    content = COMMITTED | {"table3": {**COMMITTED["table3"], name: {"clean_error": 9.0}}}
    assert read_paper(written(tmp_path, content), configured()).row("table3", name) == {"clean_error": 9.0}


def test_a_row_that_an_overlay_takes_away_keeps_its_figures():
    configured_without = configured("robustness: {methods: {parseval: null}}", "distillation: null", "timing: null")
    assert not math.isnan(
        read_paper(CONFIG / "paper.yaml", configured_without).row("table3", "parseval")["clean_error"]
    )
