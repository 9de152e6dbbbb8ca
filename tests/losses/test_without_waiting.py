"""Losses on a device whose values cannot be read, and with deterministic algorithms: no loss waits for a GPU."""

import contextlib

import pytest
import torch

from lgg.losses import (
    GraphDistillation,
    HintonDistillation,
    LabelVariation,
    LabelVariationRegularizer,
    RelationalDistillation,
)

SIZE, CLASSES = 6, 3
GKD = [
    {},
    {"similarity": "rbf"},
    {"k": 2, "neighbours": "own", "edges": "intra", "power": 2},
    {"k": 2, "order": "published", "edges": "inter"},
]
GRAPHS = [{}, {"power": 1}, {"power": 3}, {"k": 2, "normalize": True}, {"similarity": "rbf_squared"}]
CASES = {
    **{f"GKD {options}": lambda s, t, y, o=options: GraphDistillation(**o)(s, t, y) for options in GKD},
    "RKD-D": lambda s, t, _: RelationalDistillation()(s, t),
    "Hinton": lambda s, t, _: HintonDistillation(4.0)(s[1], t[1]) + 0 * s[0].sum(),
    **{
        f"regularizer {options}": lambda s, _, y, o=options: LabelVariationRegularizer(**o)(s, y, CLASSES)
        for options in GRAPHS
    },
    **{
        f"label variation {options}": lambda s, _, y, o=options: sum(LabelVariation(**o)(x, y, CLASSES) for x in s)
        for options in [*GRAPHS, {"normalize_embeddings": True, "similarity": "cosine"}]
    },
}


def layers(device, dtype=torch.float32):
    """A wide layer, whose distances come from products, and a narrow one."""
    return [torch.rand(SIZE, *shape, device=device).to(dtype) for shape in ((16, 8, 8), (CLASSES,))]


@pytest.fixture
def no_autocast(monkeypatch):
    """Replace autocast, which there is not on `meta`."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())


@pytest.mark.usefixtures("no_autocast")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", CASES)
def test_no_value_is_read(name, dtype):
    student = [x.requires_grad_() for x in layers("meta", dtype)]
    value = CASES[name](student, layers("meta", dtype), torch.zeros(SIZE, dtype=torch.int64, device="meta"))
    value.backward()
    assert (value.device.type, value.dtype, value.shape) == ("meta", torch.float32, ())
    assert all(x.grad.shape == x.shape and x.grad.dtype == dtype for x in student)


@pytest.mark.parametrize("limit", [0, SIZE])
@pytest.mark.parametrize("name", CASES)
def test_algorithms_may_be_required_to_be_deterministic(name, limit, monkeypatch):
    monkeypatch.setitem(pytest.importorskip("lgg.graph").MOST_INPUTS_OF_A_GRAPH, "cpu", limit)
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error")
    try:
        student, teacher = [x.requires_grad_() for x in layers("cpu")], layers("cpu")
        labels = torch.arange(SIZE) % CLASSES
        first, second = (
            torch.autograd.grad(CASES[name](student, teacher, labels), student, allow_unused=True) for _ in range(2)
        )
    finally:
        torch.set_deterministic_debug_mode(before)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
