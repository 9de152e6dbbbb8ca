"""What building the documentation does beside Markdown: equations become MathML, which browsers draw without a script."""

import re
from html import unescape

from latex2mathml.converter import convert

# as pymdownx.arithmatex marks them
EQUATION = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(html, **_):
    return EQUATION.sub(_mathml, html)


def _mathml(equation):
    return convert(unescape(equation[3]), display="block" if equation[2] == "[" else "inline")
