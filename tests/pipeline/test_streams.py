import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# more than a buffer holds, through all that a run writes with
TELL = """
import logging, os, sys
from lgg.pipeline.streams import outlast
logger = logging.getLogger("test")
logger.addHandler(logging.StreamHandler(sys.stderr))
outlast(logger)
outlast(logger)  # a Snakefile may be read twice
for stream in (sys.stdout, sys.stderr):
    print("x" * 100_000, file=stream, flush=True)
    print("not flushed", file=stream)
logger.error("x" * 100_000)
os.write(int(sys.argv[1]), b"to the end")
"""


def tell(*redirections):
    reading, writing = os.pipe()
    done = subprocess.Popen(
        ["sh", "-c", f'exec "$@" {" ".join(redirections)}', "sh", sys.executable, "-c", TELL, str(writing)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        pass_fds=[writing],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    return done, os.fdopen(reading, "rb")


@pytest.mark.parametrize(
    "redirections",
    [(">/dev/full", "2>/dev/full"), (">&-", "2>&-"), (">&-",), ("2>&-",)],
    ids=["full disk", "both closed", "output closed", "error closed"],
)
def test_failed_writes_do_not_end_the_process(redirections):
    process, record = tell(*redirections)
    process.communicate()
    assert (process.returncode, record.read()) == (0, b"to the end")
    record.close()


def test_a_reader_that_is_gone_ends_no_process():
    process, record = tell("2>&1")
    process.stdout.close()
    process.stderr.close()
    assert (process.wait(), record.read()) == (0, b"to the end")
    record.close()


def test_output_is_written_if_possible():
    process, record = tell()
    output, errors = process.communicate()
    record.close()
    assert output == b"x" * 100_000 + b"\nnot flushed\n"
    assert errors == b"x" * 100_000 + b"\nnot flushed\n" + b"x" * 100_000 + b"\n"
