"""Everything that runs in a stage is in the digest of its code: checked by tracing the stage, not by reading its code."""

import ast
import shutil
import sys
import threading
from functools import cache
from itertools import product
from pathlib import Path

import pytest
import torch

from lgg import models
from lgg.pipeline import recipes, syntax
from lgg.pipeline.config import Paper
from lgg.pipeline.definitions import module_of
from lgg.pipeline.digest import reached
from lgg.pipeline.stages import (
    assemble_table1,
    assemble_table3,
    distill_student,
    evaluate_corruptions,
    evaluate_embedding,
    evaluate_geometry,
    evaluate_network,
    evaluate_robustness,
    train_embedding,
    train_network,
    train_plane_embedding,
    train_robust_network,
)
from lgg.training.checkpoint import save_model

counted_in = reached
ROOT = Path(syntax.__file__).parents[1]


@cache
def definitions(path):
    """Return the first and last line and the names of each statement at the top of a file that makes definitions."""
    found = []
    for node in ast.parse(path.read_bytes()).body:
        first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
        stored = [one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)]
        names = [node.name] if hasattr(node, "name") else stored
        found.append((first, node.end_lineno, set(names)))
    return found


@pytest.fixture
def watched(call, monkeypatch):
    """Return `call`, wrapped to check that everything that runs is in the digest of the recipe that it receives."""
    make, modules = recipes.code_digest, {}
    monkeypatch.setattr(recipes, "code_digest", lambda *given: modules.setdefault(make(*given), given) and make(*given))

    def run(stage, recipe, *seeds, **files):
        executed = set()
        watch = lambda frame, event, _: executed.add(frame.f_code) if event == "call" else None  # noqa: E731
        threading.settrace(watch)
        sys.settrace(watch)
        try:
            call(stage, recipe.settings, seeds, **files)
        finally:
            sys.settrace(None)
            threading.settrace(None)
        assert modules[recipe.code][0] == stage.__name__
        counted = counted_in(*modules[recipe.code])
        ran = set()
        for code in executed:
            path = Path(code.co_filename)
            if not path.is_relative_to(ROOT) or code.co_name == "<module>":
                continue
            module = ".".join(("lgg", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
            names = {
                name
                for first, last, names in definitions(path)
                if first <= code.co_firstlineno <= last
                for name in names
            }
            assert names, f"{path}, line {code.co_firstlineno}"
            assert module in counted, f"{stage.__name__} runs {module}"
            assert names & (counted[module] | module_of(module).bound), f"{stage.__name__} runs {names} of {module}"
            ran |= {(module, name) for name in names}
        assert (stage.__name__, "main") in ran
        return ran

    return run


def written(folder, *files):
    """Return the arguments that name a stage's outputs: ``out_a_csv`` for a_csv.csv, ``out_csv`` for csv."""
    return {f"out_{name}": folder / f"{name}{suffix}" for name, suffix in (one.partition(":")[::2] for one in files)}


def trained(folder, *more):
    """Return the outputs of a training stage, lists of one file each."""
    files = written(folder, "model:.safetensors", "history:.csv", "metrics:.json", *more)
    return {name: [path] for name, path in files.items()}


FORMS = ("csv", "md", "tex", "html")


def stored(path):
    architecture = {"name": "preact_resnet18", "base_width": 1, "num_classes": 2}
    torch.manual_seed(0)
    save_model(path, models.build(**architecture), architecture, {})
    return path


def test_what_runs_in_section_3_3_counts(settings, watched, tmp_path, monkeypatch):
    recipe = recipes.evaluate_geometry(
        settings.geometry.model_copy(update={"classes": 2, "images_per_class": 5, "draws": 2})
    )
    files = {"model": stored(tmp_path / "model.safetensors"), "out_geometry": tmp_path / "geometry.json"}
    assert ("lgg.graph", "laplacian_eigenmaps") in watched(evaluate_geometry, recipe, **files)
    # a definition that the digest leaves out is noticed
    less = lambda *modules: {name: names - {"laplacian_eigenmaps"} for name, names in reached(*modules).items()}  # noqa: E731
    monkeypatch.setitem(globals(), "counted_in", less)
    with pytest.raises(AssertionError, match=r"evaluate_geometry runs .*laplacian_eigenmaps"):
        watched(evaluate_geometry, recipe, **files)


def test_what_runs_in_section_4_1_counts(settings, watched, tmp_path):
    distillation = settings.distillation
    teacher, student = tmp_path / "teacher", recipes.train_student(distillation)
    watched(train_network, recipes.train_teacher(distillation), **trained(teacher))
    watched(train_network, student, 0, **trained(tmp_path / "baseline/seed0"))
    for name, method in distillation.active_methods.items():
        if method.loss != "none":
            recipe = recipes.distill_student(distillation, name)
            files = trained(tmp_path / name / "seed0")
            ran = watched(distill_student, recipe, 0, teacher=teacher / "model.safetensors", **files)
            assert (("lgg.graph", "similarities_of_layers") in ran) == name.startswith("gkd")
    evaluate = recipes.evaluate_network(distillation.student.network)
    for folder in (teacher, *(tmp_path / name / "seed0" for name in distillation.active_methods)):
        given = {"model": folder / "model.safetensors"}
        given["teacher"] = None if folder == teacher else teacher / "predictions.safetensors"
        files = written(folder, "evaluation:.csv", "predictions:.safetensors")
        watched(evaluate_network, evaluate, **given, **files)
    evaluations = [tmp_path / name / "seed0/evaluation.csv" for name in distillation.active_methods]
    given = {"evaluations": evaluations, "teacher": teacher / "evaluation.csv"}
    watched(
        assemble_table1,
        recipes.assemble_table1(distillation, Paper()),
        **given,
        **written(tmp_path, *FORMS, "pdf:.pdf", "png:.png"),
    )


def test_what_runs_in_section_4_2_counts(settings, watched, tmp_path):
    embedding = settings.embedding
    for name in embedding.active_methods:
        watched(train_embedding, recipes.train_embedding(embedding, name), 0, **trained(tmp_path / name))
    recipe = recipes.evaluate_embedding(embedding, settings.corruptions, name, 0)
    files = {f"out_{one}": tmp_path / f"{one}.csv" for one in ("evaluation", "corruptions")}
    watched(evaluate_embedding, recipe, model=tmp_path / name / "model.safetensors", corruptions=None, **files)
    recipe = recipes.train_plane_embedding(embedding, "label_variation")
    watched(train_plane_embedding, recipe, **trained(tmp_path, "positions:.safetensors"))


def test_what_runs_in_section_4_3_counts(settings, watched, tmp_path):
    robustness, corruptions = settings.robustness, settings.corruptions
    methods = {name: robustness.methods[name] for name in ("baseline", "both", "adversarial")}
    robustness = robustness.model_copy(update={"methods": methods})
    for name in methods:
        files = trained(tmp_path / name / "seed0", "label_variation:.csv")
        ran = watched(train_robust_network, recipes.train_robust_network(robustness, name), 0, **files)
        assert (("lgg.attacks", "pgd") in ran) == (name == "adversarial")
    folders = [tmp_path / name / "seed0" for name in methods]
    network, evaluation, errors = (
        folders[0] / name for name in ("model.safetensors", "evaluation.csv", "corruptions.csv")
    )
    recipe = recipes.evaluate_robustness(robustness)
    watched(evaluate_robustness, recipe, model=network, source=network, out_evaluation=evaluation)
    recipe = recipes.evaluate_corruptions(robustness, corruptions)
    watched(evaluate_corruptions, recipe, model=network, corruptions=None, out_corruptions=errors)
    for folder, path in product(folders[1:], (evaluation, errors)):
        shutil.copy(path, folder)
    names = {"evaluations": "evaluation", "corruptions": "corruptions"}
    read = {kind: [folder / f"{name}.csv" for folder in folders] for kind, name in names.items()}
    recipe = recipes.assemble_table3(robustness, corruptions, "table3", Paper())
    watched(assemble_table3, recipe, **read, **written(tmp_path, *FORMS))
