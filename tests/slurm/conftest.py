import os
import sys
import tempfile
from pathlib import Path

import pytest
from slurm_cluster import Cluster, why_not


@pytest.fixture(scope="session")
def cluster():
    if reason := why_not():
        (pytest.fail if os.environ.get("LGG_REQUIRE_SLURM") else pytest.skip)(reason)
    # pytest's own folders are closed to others, which munged refuses
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        Path(folder).chmod(0o755)
        # by a path without spaces, since the executor plugin writes it unquoted
        (Path(folder) / "environment").symlink_to(sys.prefix)
        with Cluster(Path(folder)) as running:
            yield running
