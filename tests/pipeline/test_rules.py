import re
import shlex
from types import SimpleNamespace

import pytest

from lgg.pipeline.recipes import Recipe
from lgg.pipeline.rules import asks, each, files, in_groups, one_of, stage


def test_a_job_s_files_are_options_and_names_without_files_are_left_out():
    inputs = {"train": "a b.x", "models": ["one", "it's"], "teacher": [], "test": ["t"]}
    words = shlex.split(files(None, inputs, {"csv": "c", "corruptions": []}))
    assert words == ["--train", "a b.x", "--models", "one", "it's", "--test", "t", "--out-csv", "c"]


def test_a_recipe_becomes_params_for_all_jobs_or_for_each():
    recipes = {"gkd": Recipe("{1}", "aa", "distill"), "none": Recipe("{2}", "bb", "train")}
    for_all = stage(recipes["gkd"])
    assert for_all == {"stage": "distill", "recipe": "{1}", "code": "aa"}
    of_each = stage(lambda wildcards: recipes[wildcards.method])
    for name, recipe in recipes.items():
        found = {key: param(SimpleNamespace(method=name)) for key, param in of_each.items()}
        assert found == stage(recipe)


def test_a_job_asks_for_more_time_with_each_attempt():
    asked = asks(SimpleNamespace(mem_mb=100, runtime=7), 2)
    assert (asked["gpu"], asked["mem_mb"]) == (2, 100)
    assert [asked["runtime"](None, attempt) for attempt in (1, 2, 3)] == [7, 14, 21]


def test_a_rule_has_a_job_for_each_method_and_seed_and_no_other():
    patterns = each(["gkd", "a.b"], [3, 10])
    assert {name for name in ("gkd", "a.b", "axb", "gkd|a") if re.fullmatch(patterns["method"], name)} == {"gkd", "a.b"}
    assert [seed for seed in range(12) if re.fullmatch(patterns["seed"], str(seed))] == [3, 10]


def test_patterns_match_the_names_alone():
    assert re.fullmatch(one_of(["gkd", "a.b"]), "gkd")
    assert not re.fullmatch(one_of(["gkd", "a.b"]), "axb")
    assert not re.search(one_of([]), "")


@pytest.mark.parametrize(
    ("size", "groups"), [(1, [[4], [2], [9]]), (2, [[4, 2], [9]]), (3, [[4, 2, 9]]), (7, [[4, 2, 9]])]
)
def test_seeds_are_grouped_in_their_order(size, groups):
    assert in_groups([4, 2, 9], size) == groups
