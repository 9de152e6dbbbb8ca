"""What building the documentation does besides Markdown.

Equations become MathML, which browsers draw without a script. Published figures and tables, which pages link to by their
path in the repository, become part of the site.
"""

import re
from html import unescape
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PUBLISHED = "results/published/"

# as pymdownx.arithmatex marks them
EQUATION = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    root = Path(config.docs_dir).parent
    for path in sorted((root / PUBLISHED).glob("*/*/*.*")):
        if path.suffix in (".png", ".md"):
            files.append(File.generated(config, path.relative_to(root / "results").as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    return markdown.replace(f"](../{PUBLISHED}", "](published/")


def on_page_content(html: str, **_: object) -> str:
    return EQUATION.sub(_mathml, html)


def _mathml(equation: re.Match[str]) -> str:
    return convert(unescape(equation[3]), display="block" if equation[2] == "[" else "inline")
