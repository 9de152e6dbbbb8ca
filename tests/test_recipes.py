import json
from collections.abc import Mapping

import pytest
from configurations import configured, read

from lgg import digest, recipes
from lgg.config import Data, load
from lgg.data import sources

METHODS = {"hinton", "rkd_d", "gkd", "gkd_inter"}
DISTILLED = {f"distill_student {method}" for method in METHODS}
WIDE_RESNETS = {"train_teacher", "train_student", *DISTILLED}
TRAININGS = {*WIDE_RESNETS, "train_reference_network"}


def recipes_of(configuration):
    """Return the recipe of every stage, those of students for seed 0."""
    distillation, geometry = configuration.distillation, configuration.geometry
    return {
        "prepare_data": recipes.prepare_data(configuration),
        "train_reference_network": recipes.train_reference_network(geometry),
        "evaluate_geometry": recipes.evaluate_geometry(geometry),
        "draw_figure1": recipes.draw_figure1(geometry),
        "draw_figure2": recipes.draw_figure2(),
        "train_teacher": recipes.train_teacher(distillation),
        "train_student": recipes.train_student(distillation, 0),
        **{
            f"distill_student {name}": recipes.distill_student(distillation, name, 0)
            for name, method in distillation.active_methods.items()
            if method.loss != "none"
        },
        "evaluate_networks": recipes.evaluate_networks(distillation.student.architecture, configuration.seeds),
        "assemble_table1": recipes.assemble_table1(distillation),
    }


def changed(before, after):
    """Return the stages whose recipe is another, or that are new."""
    return {name for name, recipe in after.items() if before.get(name) != recipe}


def backwards(node):
    """Return the same configuration with the keys of every section in the opposite order."""
    if isinstance(node, Mapping):
        return {key: backwards(node[key]) for key in reversed(node)}
    return node


# --- settings -----------------------------------------------------------------------------------------------------


def test_the_order_of_keys_does_not_matter():
    assert changed(recipes_of(configured()), recipes_of(load(backwards(read())))) == {"assemble_table1"}


def test_the_order_of_methods_is_the_order_of_the_rows():
    methods = configured().distillation.active_methods
    rows = json.loads(recipes_of(configured())["assemble_table1"].settings)["rows"]
    assert [row["name"] for row in rows] == ["teacher", *methods]


@pytest.mark.parametrize("spelling", ["25", "25.0", "2.5e1", "'25'"])
def test_a_number_gives_the_same_recipe_however_it_is_written(spelling):
    assert not changed(
        recipes_of(configured()), recipes_of(configured(f"distillation: {{methods: {{gkd: {{weight: {spelling}}}}}}}"))
    )


def test_a_default_gives_the_same_recipe_written_out():
    overlay = "distillation: {training: {momentum: 0.9}, methods: {gkd: {power: 1, k: null}}}"
    assert not changed(recipes_of(configured()), recipes_of(configured(overlay)))


@pytest.mark.parametrize(
    ("overlay", "stages"),
    [
        ("run: other", set()),
        ("resources: {device: cpu, train: {threads: 8, mem_mb: 1, runtime: 1}, light: {threads: 2}}", set()),
        ("distillation: {methods: {gkd: {label: Graphs}}}", {"assemble_table1"}),
        ("distillation: {methods: {gkd: {paper_error: 1, paper_gain: 1}}}", {"assemble_table1"}),
        ("distillation: {teacher: {label: Master, paper_error: 1}}", {"assemble_table1"}),
        ("distillation: {baseline: gkd}", {"assemble_table1"}),
        ("distillation: {methods: {gkd: {weight: 1}}}", {"distill_student gkd"}),
        ("distillation: {methods: {gkd: {layers: [pool]}}}", {"distill_student gkd"}),
        ("distillation: {methods: {gkd: {k: 5}}}", {"distill_student gkd"}),
        ("distillation: {methods: {gkd_inter: {edges: intra}}}", {"distill_student gkd_inter"}),
        ("distillation: {methods: {hinton: {temperature: 2}}}", {"distill_student hinton"}),
        (
            "distillation: {methods: {new: {label: New, loss: relational}}}",
            {"distill_student new", "assemble_table1"},
        ),
        ("distillation: {methods: {hinton: null}}", {"assemble_table1"}),
        ("distillation: {training: {batch_size: 32}}", WIDE_RESNETS),
        ("distillation: {training: {schedule: [{epochs: 1, learning_rate: 0.1}]}}", WIDE_RESNETS),
        ("distillation: {teacher: {seed: 1}}", {"train_teacher"}),
        ("distillation: {teacher: {architecture: {depth: 16}}}", {"train_teacher"}),
        ("distillation: {student: {architecture: {depth: 16}}}", WIDE_RESNETS - {"train_teacher"}),
        ("seeds: [0, 1, 2]", {"evaluate_networks"}),
        ("geometry: {draws: 10}", {"evaluate_geometry"}),
        ("geometry: {draw_seed: 1}", {"evaluate_geometry"}),
        ("geometry: {k: 3}", {"evaluate_geometry"}),
        ("geometry: {classes: 3}", {"evaluate_geometry"}),
        ("geometry: {images_per_class: 4}", {"evaluate_geometry"}),
        ("geometry: {seed: 1}", {"train_reference_network"}),
        ("geometry: {training: {momentum: 0.5}}", {"train_reference_network"}),
        ("geometry: {architecture: {base_width: 4}}", {"train_reference_network", "draw_figure1"}),
        ("data: {seed: 1}", {"prepare_data"}),
        ("data: {source: digits}", {"prepare_data"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_setting_changes_the_recipes_that_depend_on_it_and_no_others(overlay, stages):
    assert changed(recipes_of(configured()), recipes_of(configured(overlay))) == stages


def test_students_differ_by_seed_alone():
    distillation = configured().distillation
    one, other = (json.loads(recipes.train_student(distillation, seed).settings) for seed in (0, 7))
    assert (one.pop("seed"), other.pop("seed")) == (0, 7)
    assert one == other


def test_a_distillation_recipe_holds_the_options_of_its_loss():
    settings = json.loads(recipes_of(configured())["distill_student gkd_inter"].settings)
    assert settings["loss"] == "graph_distillation"
    assert settings["weight"] == 25.0
    assert settings["layers"] is None
    assert settings["options"] == {
        "k": None,
        "edges": "inter",
        "power": 1,
        "normalize": True,
        "neighbours": "teacher",
        "order": "threshold_first",
    }


@pytest.mark.parametrize("stage", sorted(recipes_of(configured())))
def test_settings_are_one_canonical_line_of_json(stage):
    settings = recipes_of(configured())[stage].settings
    assert json.dumps(json.loads(settings), sort_keys=True, separators=(",", ":")) == settings
    assert settings.isascii()
    assert "\n" not in settings


def test_the_recipe_of_the_data_is_what_the_sources_read():
    recipe = recipes.prepare_data(configured("data: {source: digits, train_images: 200, test_images: 10}"))
    train, test = sources.load(json.loads(recipe.settings))
    assert (len(train.labels), len(test.labels)) == (200, 10)


def test_a_teacher_that_is_null_has_no_recipe():
    without = configured({"distillation": {"teacher": None, "methods": dict.fromkeys(METHODS)}})
    with pytest.raises(ValueError, match="no teacher"):
        recipes.train_teacher(without.distillation)


# --- code ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def committed():
    return recipes_of(configured())


@pytest.mark.parametrize(
    ("module", "stages"),
    [
        ("lgg.losses.hinton", {"distill_student hinton"}),
        ("lgg.losses.relational", {"distill_student rkd_d"}),
        ("lgg.losses.graph_distillation", {"distill_student gkd", "distill_student gkd_inter"}),
        ("lgg.losses._pairs", DISTILLED - {"distill_student hinton"}),
        ("lgg.losses", DISTILLED),
        ("lgg.graph", DISTILLED | {"evaluate_geometry"}),
        ("lgg.models.wide_resnet", WIDE_RESNETS | {"evaluate_networks"}),
        ("lgg.models.preact_resnet", {"train_reference_network", "evaluate_geometry", "draw_figure1"}),
        ("lgg.data.photo_patches", {"prepare_data"}),
        ("lgg.data.sources", {"prepare_data"}),
        ("lgg.data.batches", TRAININGS | {"evaluate_networks", "evaluate_geometry"}),
        ("lgg.training.fit", TRAININGS),
        ("lgg.training.schedule", TRAININGS),
        ("lgg.evaluation.accuracy", {"evaluate_networks"}),
        ("lgg.evaluation.geometry", {"evaluate_geometry"}),
        ("lgg.reporting.tables", {"assemble_table1"}),
        ("lgg.reporting.statistics", {"assemble_table1"}),
        ("lgg.stages.distill_student", DISTILLED),
        ("lgg.stages.train_network", {"train_teacher", "train_student", "train_reference_network"}),
        ("lgg.config", set()),
        ("lgg.recipes", set()),
        ("lgg.digest", set()),
        ("lgg.provenance", set()),
    ],
)
def test_editing_a_module_changes_the_recipes_that_run_it_and_no_others(module, stages, committed, monkeypatch):
    code = digest._code
    monkeypatch.setattr(digest, "_code", lambda name: code(name) + ("\nedited" if name == module else ""))
    edited = recipes_of(configured())
    assert changed(committed, edited) == stages
    assert all(edited[stage].settings == committed[stage].settings for stage in committed)


def test_the_network_of_the_teacher_counts_in_distillation(monkeypatch):
    raw = read()
    raw["distillation"]["teacher"]["architecture"] = {"name": "preact_resnet18", "base_width": 8}
    raw["distillation"]["methods"] = {
        "baseline": {"label": "Baseline", "loss": "none"},
        "hinton": {"label": "Hinton", "loss": "hinton"},
    }
    before = recipes_of(load(raw))
    code = digest._code
    monkeypatch.setattr(digest, "_code", lambda name: code(name) + ("#" if name == "lgg.models.preact_resnet" else ""))
    after = recipes_of(load(raw))
    assert {"train_teacher", "distill_student hinton"} <= changed(before, after)
    assert "train_student" not in changed(before, after)


# --- files --------------------------------------------------------------------------------------------------------


def test_own_arrays_are_files_that_the_data_depend_on(tmp_path):
    for name in ("train.npz", "test.npz", "readme.txt"):
        (tmp_path / name).write_text("")
    files = recipes.source_files(Data(source="arrays", path=str(tmp_path)))
    assert files == [str(tmp_path / "test.npz"), str(tmp_path / "train.npz")]


def test_own_pictures_are_files_that_the_data_depend_on(tmp_path):
    for name in ("train/cat/1.png", "train/dog/2.jpg", "test/cat/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    files = recipes.source_files(Data(source="image_folder", path=str(tmp_path)))
    assert files == [str(tmp_path / name) for name in ("test/cat/3.png", "train/cat/1.png", "train/dog/2.jpg")]


@pytest.mark.parametrize(("source", "path"), [("digits", None), ("photo_patches", None), ("cifar10", "downloads")])
def test_other_sources_depend_on_no_file_of_ours(source, path):
    assert recipes.source_files(Data(source=source, path=path)) == []
