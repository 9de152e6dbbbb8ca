"""Draws the documentation's diagrams again: python tools/drawings.py, with Graphviz installed, from the repository's root.

Snakemake gives the graph of the rules for the demonstration, which is written as assets/rules.dot; each .dot file
becomes an .svg.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ASSETS = Path(__file__).resolve().parents[1] / "docs" / "assets"
HEAD = """digraph rules {
  rankdir=LR; bgcolor="transparent"; nodesep=0.12; ranksep=0.5;
  node [shape=box, style="rounded,filled", fillcolor="#e8eaf6", color="#3f51b5", fontname="sans-serif", fontsize=11];
  edge [color="#7986cb"];
"""


def rule_graph(dot: str) -> str:
    """Return Snakemake's graph of rules with their names as nodes, in one order and one style, without the target."""
    names = dict(re.findall(r'^\s*(\d+)\[label = "(\w+)', dot, re.MULTILINE))
    edges = [(names[a], names[b]) for a, b in re.findall(r"^\s*(\d+) -> (\d+)", dot, re.MULTILINE)]
    lines = [f"  {a} -> {b};" for a, b in sorted(edges) if b != "all"]
    return HEAD + "\n".join(lines) + "\n}\n"


def ask_snakemake() -> str:
    """Return the graph of the rules of the demonstration."""
    command = [sys.executable, "-m", "snakemake", "--rulegraph", "dot", "--forceall"]
    return rule_graph(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    (ASSETS / "rules.dot").write_text(ask_snakemake(), encoding="utf-8")
    if shutil.which("dot") is None:
        sys.exit("rules.dot is written; drawing it needs Graphviz: apt-get install graphviz")
    for path in sorted(ASSETS.glob("*.dot")):
        subprocess.run(["dot", "-Tsvg", "-o", path.with_suffix(".svg"), path], check=True)
