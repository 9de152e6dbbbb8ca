"""``python -m lgg.pipeline.config FOLDER`` writes schema.json and the tables of keys in README.md there."""

import sys
from pathlib import Path

from lgg.pipeline.config import write_documentation

if len(sys.argv) != 2:
    sys.exit("usage: python -m lgg.pipeline.config FOLDER    (writes schema.json and the tables in README.md there)")
write_documentation(Path(sys.argv[1]))
