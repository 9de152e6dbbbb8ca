"""The driver is a library compiled for the test, whose answers are variables; PyTorch's build is read from its own files."""

import importlib.machinery
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lgg.pipeline import driver

pytestmark = pytest.mark.system  # a compiler

LIBRARY = """
#include <stdlib.h>
#include <string.h>
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define API(name) JOIN(PREFIX, name)
int API(Init)(unsigned flags) { return atoi(getenv("FAKE_INIT")); }
int API(DriverGetVersion)(int *version) { *version = atoi(getenv("FAKE_VERSION")); return 0; }
int COUNT(int *count) { *count = strcmp(getenv("CUDA_DEVICE_ORDER"), "PCI_BUS_ID") ? 0 : atoi(getenv("FAKE_GPUS")); return 0; }
int API(DeviceGet)(int *device, int number) { *device = 160 + number; return 0; }
int UUID(char *uuid, int device) { memset(uuid, device, 16); return 0; }
"""
UUIDS = ["a0" * 16, "a1" * 16, "a2" * 16]


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("driver")
    (folder / "driver.c").write_text(LIBRARY, encoding="utf-8")
    (folder / "old").mkdir()
    (folder / "lib").mkdir()
    for name, prefix, uuid in (
        ("libcuda.so.1", "cu", "cuDeviceGetUuid_v2"),
        ("old/libcuda.so.1", "cu", "cuDeviceGetUuid"),
        ("lib/libamdhip64.so", "hip", "hipDeviceGetUuid"),
    ):
        count = "cuDeviceGetCount" if prefix == "cu" else "hipGetDeviceCount"
        defined = [f"-DPREFIX={prefix}", f"-DCOUNT={count}", f"-DUUID={uuid}"]
        subprocess.run(["cc", "-shared", "-fPIC", *defined, "-o", folder / name, folder / "driver.c"], check=True)
    return folder


@pytest.fixture
def machine(libraries, monkeypatch):
    """Return a function that simulates a machine with some GPUs, and a PyTorch built for given versions."""
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)

    def make(gpus, cuda="12.8", hip="", version=12080, init=0, folder=libraries):
        values = {"LD_LIBRARY_PATH": folder, "FAKE_GPUS": gpus, "FAKE_VERSION": version, "FAKE_INIT": init}
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))
        build = {"version": "2.9.0", "folder": str(libraries), "cuda": cuda, "hip": hip}
        monkeypatch.setattr(driver, "_build", lambda: build)

    return make


@pytest.mark.parametrize("folder", [".", "old"])
def test_gpus_are_those_that_the_driver_names(folder, machine, libraries):
    machine(3, folder=libraries / folder)
    assert driver.ask() == driver.Answer(UUIDS)


def test_amd_gpus_are_found_through_the_library_of_a_rocm_pytorch(machine, tmp_path):
    machine(2, cuda="", hip="6.4.43482", version=60443482, folder=tmp_path)
    assert driver.ask() == driver.Answer(UUIDS[:2])


def test_without_a_driver_nothing_was_asked(machine, tmp_path):
    machine(3, folder=tmp_path)
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has a driver")
    assert driver.ask() == driver.Answer([], asked=False)


@pytest.mark.parametrize("how", [{"gpus": 0}, {"gpus": 1, "init": 100}])
def test_a_driver_that_finds_none_has_an_answer_too(how, machine):
    machine(**how)
    assert driver.ask() == driver.Answer([])


def test_a_driver_that_crashes_gives_no_answer(machine, monkeypatch, libraries):
    machine(1)
    monkeypatch.delenv("FAKE_VERSION")
    assert driver.ask() == driver.Answer([], asked=False)


@pytest.mark.parametrize(
    ("driver_s", "pytorch_s", "usable"),
    [
        (12040, "12.8", True),
        (13000, "12.8", True),
        (12080, "13.0", False),
        (11080, "12.8", False),
        (13010, "13.0", True),
    ],
)
def test_a_driver_runs_what_was_built_for_its_major_version_or_an_older_one(driver_s, pytorch_s, usable, machine):
    """NVIDIA's rule: https://docs.nvidia.com/deploy/cuda-compatibility/#minor-version-compatibility."""
    machine(1, cuda=pytorch_s, version=driver_s)
    answer = driver.ask()
    assert answer.uuids == (UUIDS[:1] if usable else [])
    assert bool(re.search(rf"needs {pytorch_s}: update", answer.why)) != usable


def test_a_pytorch_for_the_cpu_alone_uses_none_and_says_so(machine):
    machine(1, cuda="")
    assert driver.ask() == driver.Answer([], "this environment's PyTorch (2.9.0) was built for the CPU only")


def test_if_jobs_have_their_own_environment_the_driver_decides(machine, monkeypatch):
    machine(1, version=11080)
    monkeypatch.setattr(driver, "_build", lambda: {"version": "", "folder": "", "cuda": "", "hip": ""})
    assert driver.ask() == driver.Answer(UUIDS[:1])


def test_without_pytorch_no_build_is_known(monkeypatch):
    monkeypatch.setattr(driver, "importlib", SimpleNamespace(util=SimpleNamespace(find_spec={}.get)))
    assert {driver._build()[key] for key in ("version", "cuda", "hip")} == {""}


def test_the_build_is_the_one_that_pytorch_itself_names():
    build = driver._build()
    assert build["version"] == torch.__version__
    assert (build["cuda"], build["hip"]) == (torch.version.cuda or "", torch.version.hip or "")
    assert Path(build["folder"]).samefile(Path(torch.__file__).parent)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("cuda: Optional[str] = '13.0'\nhip: Optional[str] = None", ("13.0", "")),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '6.4.43482-0f2d60242'", ("", "6.4.43482-0f2d60242")),
        ("cuda = None\nhip = None", ("", "")),
        ("cuda = '12.1'", ("12.1", "")),
        (None, ("", "")),
    ],
)
def test_builds_are_read_without_an_import(lines, expected, tmp_path, monkeypatch):
    if lines is not None:
        (tmp_path / "version.py").write_text(f"__version__ = '2.9.0'\ndebug = False\n{lines}\n", encoding="utf-8")
    spec = importlib.machinery.ModuleSpec("torch", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(driver, "importlib", SimpleNamespace(util=SimpleNamespace(find_spec={"torch": spec}.get)))
    build = driver._build()
    assert (build["cuda"], build["hip"]) == expected
