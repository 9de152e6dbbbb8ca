import ast
from typing import get_type_hints

import pytest

from lgg.pipeline import recipe_types, syntax

STAGES = {
    path.stem: ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted((syntax.ROOT / "pipeline" / "stages").glob("[a-z]*.py"))
}
SHARED = STAGES.pop("networks")
WITHOUT_KEYS = {"download_corruptions", "draw_figure2", "draw_graph_depths", "evaluate_network", "list_networks"}


def name_of_type(stage):
    return "".join(map(str.capitalize, stage.split("_")))


def types_of_recipe(tree):
    """Return the annotations of the variables that are given ``arguments.recipe``."""
    assignments = [node for node in ast.walk(tree) if isinstance(node, ast.AnnAssign) and node.value]
    return [ast.unparse(node.annotation) for node in assignments if ast.unparse(node.value) == "arguments.recipe"]


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_a_stage_reads_its_recipe_as_the_type_of_its_name(stage):
    (main,) = (node for node in STAGES[stage].body if isinstance(node, ast.FunctionDef) and node.name == "main")
    assert types_of_recipe(main) == ([] if stage in WITHOUT_KEYS else [name_of_type(stage)])


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_a_stage_never_reads_a_recipe_without_a_type(stage):
    tree = STAGES[stage]
    reads = [node for node in ast.walk(tree) if ast.unparse(node) == "arguments.recipe"]
    assert len(reads) == len(types_of_recipe(tree))
    for annotation in types_of_recipe(tree):
        assert all(hasattr(recipe_types, name) for name in annotation.split(" | "))


@pytest.mark.parametrize("tree", [SHARED, *STAGES.values()], ids=["networks", *STAGES])
def test_parameters_that_are_recipes_have_their_types(tree):
    parameters = [node for node in ast.walk(tree) if isinstance(node, ast.arg) and node.arg in ("recipe", "row")]
    for parameter in parameters:
        assert hasattr(recipe_types, ast.literal_eval(parameter.annotation))


def test_the_recipes_without_keys_are_those_of_the_stages_that_read_none():
    kinds = {stage: getattr(recipe_types, name_of_type(stage)) for stage in STAGES}
    assert {stage for stage, kind in kinds.items() if not get_type_hints(kind)} == WITHOUT_KEYS
