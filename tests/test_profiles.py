import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
RULES = {
    name
    for path in (ROOT / "workflow" / "rules").glob("*.smk")
    for name in re.findall(r"^ *use rule \w+ as (\w+) with:", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
}


@pytest.mark.parametrize("path", sorted((ROOT / "profiles").glob("*/profile.yaml")), ids=lambda path: path.parent.name)
def test_a_profile_sets_what_rules_need_of_rules_that_are_there(path):
    """Snakemake passes over the names of rules that it does not know."""
    profile = yaml.safe_load(path.read_text(encoding="utf-8"))
    named = {*profile.get("set-resources", {}), *profile.get("set-threads", {})}
    assert named <= RULES
    assert "measure_times" in RULES
