import re
import shlex
from dataclasses import replace
from inspect import signature
from types import SimpleNamespace

import pytest

from lgg.pipeline.recipes import Recipe
from lgg.pipeline.rules import Training, asks, each, files, one_of, stage, with_options


def test_a_job_s_files_are_options_and_names_without_files_are_left_out():
    inputs = {"train": "a b.x", "models": ["one", "it's"], "teacher": [], "test": ["t"]}
    words = shlex.split(files(None, inputs, {"csv": "c", "corruptions": []}))
    assert words == ["--train", "a b.x", "--models", "one", "it's", "--test", "t", "--out-csv", "c"]


def test_a_job_does_not_read_what_it_only_waits_for():
    assert shlex.split(files(None, {"train": "t", "checked": "c", "start": "s"}, {})) == [
        "--train",
        "t",
        "--start",
        "s",
    ]


def test_further_options_of_a_job_come_before_its_files_and_may_depend_on_its_wildcards():
    options = with_options(weights=lambda wc: [f"a {wc.seed}", "b"], start=None, seeds="3")
    words = shlex.split(options(SimpleNamespace(seed=7), {"train": "t"}, {"model": "m"}))
    assert words == ["--weights", "a 7", "b", "--seeds", "3", "--train", "t", "--out-model", "m"]
    # names of parameters by which Snakemake knows that a value depends on files
    assert list(signature(options).parameters) == ["wildcards", "input", "output"]


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


def test_a_job_of_several_networks_asks_for_as_many_times_the_memory_and_time():
    asked = asks(SimpleNamespace(mem_mb=100, runtime=7), 1, networks=3)
    assert (asked["gpu"], asked["mem_mb"], asked["runtime"](None, 2)) == (1, 300, 42)


def test_a_rule_has_a_job_for_each_method_and_seed_and_no_other():
    patterns = each(["gkd", "a.b"], [3, 10])
    assert {name for name in ("gkd", "a.b", "axb", "gkd|a") if re.fullmatch(patterns["method"], name)} == {"gkd", "a.b"}
    assert [seed for seed in range(12) if re.fullmatch(patterns["seed"], str(seed))] == [3, 10]


def test_patterns_match_the_names_alone():
    assert re.fullmatch(one_of(["gkd", "a.b"]), "gkd")
    assert not re.fullmatch(one_of(["gkd", "a.b"]), "axb")
    assert not re.search(one_of([]), "")


# --- a network for each method and seed ---------------------------------------------------------------------------

RECIPES = {method: Recipe(f"{{{method}}}", "aa", "train_x") for method in ("gkd", "a.b")}
TRAINING = Training(
    "train_x",
    methods=RECIPES,
    seeds=[4, 2, 9],
    recipe=RECIPES.get,
    inputs={"train": "train.x"},
    outputs={"model": "{method}/seed{seed}/m", "history": "{method}/seed{seed}/h"},
    lone_seeds=[7],
)


def jobs_of(rule):
    """Return the jobs of a rule, as Snakemake makes them for every method and seed: files and params by wildcards."""
    pattern = rule.wildcards
    seeds = [seed for seed in range(12) if re.fullmatch(pattern["seed"], str(seed))] if "seed" in pattern else [None]
    for method in filter(re.compile(pattern["method"]).fullmatch, ["gkd", "a.b", "axb"]):
        for seed in seeds:
            wildcards = SimpleNamespace(method=method, **({} if seed is None else {"seed": str(seed)}))
            filled = {
                name: [path.format(**vars(wildcards)) for path in ([paths] if isinstance(paths, str) else paths)]
                for name, paths in rule.outputs.items()
            }
            files = rule.params["files"](wildcards, input=rule.training.inputs, output=filled)
            tracked = {name: rule.params[name](wildcards) for name in ("stage", "recipe", "code")}
            yield rule.job.format(**vars(wildcards)), filled, shlex.split(files), tracked


@pytest.mark.parametrize(
    ("size", "names", "networks"),
    [
        (1, {"train_x": {4, 2, 9, 7}}, {"train_x": 1}),
        (2, {"train_x": {9, 7}, "train_x_4_2": {4, 2}}, {"train_x": 1, "train_x_4_2": 2}),
        (3, {"train_x": {7}, "train_x_4_2_9": {4, 2, 9}}, {"train_x": 1, "train_x_4_2_9": 3}),
        (7, {"train_x": {7}, "train_x_4_2_9": {4, 2, 9}}, {"train_x": 1, "train_x_4_2_9": 3}),
    ],
)
def test_each_network_is_trained_by_one_job_whatever_the_size_of_the_groups(size, names, networks):
    rules = {rule.name: rule for rule in TRAINING.rules(size)}
    assert {name: set(rule.seeds) for name, rule in rules.items()} == names
    assert {name: rule.networks for name, rule in rules.items()} == networks
    jobs = [job for rule in rules.values() for job in jobs_of(rule)]
    assert len({name for name, *_ in jobs}) == len(jobs)
    made = [path for _, filled, _, _ in jobs for paths in filled.values() for path in paths]
    expected = {f"{method}/seed{seed}/{kind}" for method in RECIPES for seed in (4, 2, 9, 7) for kind in "mh"}
    assert sorted(made) == sorted(expected)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_what_snakemake_compares_of_a_network_does_not_depend_on_those_it_is_trained_with(size):
    for rule in TRAINING.rules(size):
        assert rule.training.inputs == {"train": "train.x"}
        # Snakemake does not compare params of functions that take inputs or outputs
        compared = {
            name for name, param in rule.params.items() if not {"input", "output"} & {*signature(param).parameters}
        }
        assert compared == {"stage", "recipe", "code"}
        for _, filled, _, tracked in jobs_of(rule):
            method = filled["model"][0].split("/")[0]
            assert tracked == stage(RECIPES[method])


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_job_is_told_the_seeds_of_its_files_in_their_order(size):
    for rule in TRAINING.rules(size):
        for name, filled, words, _ in jobs_of(rule):
            seeds = [path.split("/")[1].removeprefix("seed") for path in filled["model"]]
            assert len(seeds) == rule.networks and name.endswith("_".join(seeds))
            given = ["--seeds", *seeds, "--train", "train.x", "--out-model", *filled["model"]]
            assert words == [*given, "--out-history", *filled["history"]]


def test_names_of_large_groups_stay_short_and_differ():
    rules = list(replace(TRAINING, seeds=range(300), lone_seeds=()).rules(100))
    names = [(rule.name, rule.job) for rule in rules]
    assert len(set(names)) == len(rules) == 3
    assert all(len(part) < 100 for name in names for part in name)


def test_a_rule_without_a_seed_of_its_own_is_left_out():
    whole = replace(TRAINING, lone_seeds=())
    assert [rule.name for rule in whole.rules(3)] == ["train_x_4_2_9"]


def test_all_networks_of_a_job_start_from_the_same_weights():
    for rule in replace(TRAINING, start="w.pt").rules(2):
        words = shlex.split(rule.options(SimpleNamespace(method="gkd", seed="4"), {"train": "t"}, {"model": "m"}))
        assert words[words.index("--start") + 1] == "w.pt" and words.count("--start") == 1
