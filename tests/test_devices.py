import subprocess
import sys

import pytest
import torch

from lgg.devices import precision_on, prepare
from lgg.errors import LggError


@pytest.fixture(autouse=True)
def restore_torch_settings():
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def test_without_gpus_the_cpu_is_used_with_the_given_threads():
    assert prepare(0, 1) == torch.device("cpu")
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()


def test_an_assigned_gpu_is_used(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert prepare(1, 1) == torch.device("cuda")


def test_an_assigned_gpu_that_is_missing_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(LggError, match=r"assigned a GPU, but PyTorch \S+ finds none.*resources\.device to cpu"):
        prepare(1, 1)


@pytest.mark.parametrize("asked", ["float32", "bfloat16"])
def test_an_explicit_precision_is_used_on_any_device(asked, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert precision_on(torch.device("cpu"), asked) == asked


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"amx_bf16": True}, "bfloat16"),
        ({"avx512_bf16": True, "amx_bf16": False}, "bfloat16"),
        ({"avx512_f": True, "avx512_bf16": False}, "float32"),
        ({}, "float32"),
    ],
    ids=str,
)
def test_automatic_precision_is_bfloat16_if_the_cpu_supports_it(capabilities, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert precision_on(torch.device("cpu"), "auto") == expected


@pytest.mark.parametrize(("supported", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_automatic_precision_is_bfloat16_if_the_gpu_does_not_emulate_it(supported, expected, monkeypatch):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or supported
    )
    assert precision_on(torch.device("cuda"), "auto") == expected


def test_automatic_precision_is_float32_if_capabilities_are_unknown(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert precision_on(torch.device("cpu"), "auto") == "float32"


def in_a_fresh_process(code):
    """Run `code` after `prepare` and return its output."""
    code = f"from lgg.devices import prepare\nprepare(0, 1)\n{code}"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


def test_operations_without_a_deterministic_form_are_refused():
    done = in_a_fresh_process(
        "import torch\n"
        "try:\n    torch.empty(10).put_(torch.zeros(2, dtype=torch.int64), torch.ones(2), accumulate=False)\n"
        "except RuntimeError as error:\n    print('deterministic' in str(error))"
    )
    assert done == ["True"]


def test_preparing_does_not_import_the_compiler():
    assert in_a_fresh_process("import sys\nprint('torch._dynamo' in sys.modules)") == ["False"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_freed_memory_is_reused_without_the_kernel():
    """Tensors of one size, each freed before the next, soon need no new pages."""
    faults = in_a_fresh_process(
        "import resource, torch\n"
        "for _ in range(12):\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    torch.empty(2**24).fill_(1)\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)"
    )
    first, *_, before_last, last = map(int, faults)
    assert first >= 2**26 // 2**21  # 64 MB, even if in huge pages of 2 MB
    assert max(before_last, last) < 16  # the interpreter may fault in a few of its own
