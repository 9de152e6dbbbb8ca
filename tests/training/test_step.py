"""A step is a function of tensors that stay where they are; its capture is tested here with a stand-in for CUDA graphs."""

import contextlib
import gc
import warnings
import weakref
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lgg import losses, models
from lgg.data.batches import Batches
from lgg.defences import Adversarial, Parseval, Regularizer
from lgg.training import step as steps
from lgg.training.fit import Run, fit, fit_side_by_side
from lgg.training.objectives import CrossEntropy, Distillation, MetricLearning, Robust, Step
from lgg.training.optimizers import SGD, AdamW
from lgg.training.schedule import Schedule
from lgg.training.step import WARM_UP, Captured, TrainingStep, train_step

SCHEDULE = [
    {"epochs": 1.5, "learning_rate": [0.0, 0.05]},
    {"epochs": 1.5, "learning_rate": [0.05, 0.0], "shape": "cosine", "fresh_optimizer": True},
]


def wide_resnet(width=0.25):
    return models.build("wide_resnet", num_classes=3, depth=10, width=width)


def preact_resnet(**options):
    return models.build("preact_resnet18", num_classes=3, base_width=2, **options)


def batches(**options):
    images = torch.randint(256, (15, 16, 16, 3), generator=torch.Generator().manual_seed(4), dtype=torch.uint8)
    return Batches(
        images, torch.arange(15) % 3, **{"batch_size": 6, "seed": 2, "augmentation": "crop_and_flip"} | options
    )


def taught(criterion):
    return lambda: Distillation(wide_resnet(0.5), criterion, 1.0)


#: every objective of the three applications: its network, the objective, the optimiser
CASES = {
    "cross-entropy": (wide_resnet, CrossEntropy, SGD),
    "Nesterov": (wide_resnet, CrossEntropy, partial(SGD, nesterov=True)),
    "AdamW": (wide_resnet, CrossEntropy, AdamW),
    "smoothed labels, decay of some": (wide_resnet, partial(CrossEntropy, 0.1), partial(SGD, decay_norms=False)),
    "Hinton": (wide_resnet, taught(losses.HintonDistillation(temperature=4.0)), SGD),
    "RKD-D": (wide_resnet, taught(losses.RelationalDistillation()), SGD),
    "GKD": (wide_resnet, taught(losses.GraphDistillation(k=3, edges="inter")), SGD),
    "label variation": (preact_resnet, lambda: MetricLearning(losses.LabelVariation(reduction="mean"), 1.0), SGD),
    "triplets": (preact_resnet, lambda: MetricLearning(losses.Triplet(triplets="all"), 1.0), SGD),
    "regularizer": (preact_resnet, lambda: Robust([Regularizer(1e-3)]), SGD),
    "all defences": (
        partial(preact_resnet, parseval=True),
        lambda: Robust([Parseval(), Regularizer(1e-3), Adversarial(steps=1)]),
        SGD,
    ),
}


def build(case):
    make_model, make_objective, make_optimizer = CASES[case]
    torch.manual_seed(5)
    model, objective = make_model(), make_objective()
    after_step = partial(objective.after_step, model) if isinstance(objective, Robust) else None
    return model, objective, make_optimizer(model.parameters()), after_step


@pytest.mark.parametrize("case", CASES)
def test_training_is_a_plain_loop_bit_for_bit(case):
    """Batches of `Batches.epoch`, loss, gradients of autograd, optimiser, constraint; rates in the precision of weights."""
    model, objective, optimizer, after_step = build(case)
    run = Run(model, objective, batches(), SCHEDULE, optimizer=optimizer, after_step=after_step)
    [history] = fit_side_by_side([run])

    model, objective, optimizer, after_step = build(case)
    generator = torch.Generator().manual_seed(run.seed)
    for defence in getattr(objective, "defences", []):
        defence.generator = generator
    rates, number = Schedule(SCHEDULE, 3), 0
    model.train()
    for epoch in range(3):
        total = 0.0
        for images, labels in batches().epoch(epoch):
            if number == 5:  # the step nearest to one and a half epochs of three
                optimizer.forget()
            for parameter in model.parameters():
                parameter.grad = None
            loss = objective(model, images, labels).loss
            loss.backward()
            optimizer.step(torch.tensor(rates.learning_rate(number)))
            if after_step is not None:
                after_step()
            total, number = total + loss.detach(), number + 1
        assert history[epoch]["loss"] == total.item() / 3
    for name, value in model.state_dict().items():
        assert torch.equal(run.model.state_dict()[name], value), name


@pytest.mark.parametrize("share", [0.25, 4.0])
def test_a_clipped_step_is_no_longer_than_the_norm_that_is_given(share):
    """Steps of plain gradient descent with rate 1 are the gradients: of the same direction, and no longer."""
    updates = []
    for clipping in (None, share):
        model = build("cross-entropy")[0].train()
        before = [one.detach().clone() for one in model.parameters()]
        if clipping is not None:
            clipping *= torch.cat(updates[0]).norm().item()
        optimizer = SGD(model.parameters(), momentum=0.0, weight_decay=0.0)
        images, labels = next(batches().epoch(0))
        train_step(model, CrossEntropy(), images, labels, optimizer, 1.0, "float32", None, clipping)
        updates.append(
            [(after - one).detach().flatten() for one, after in zip(before, model.parameters(), strict=True)]
        )
    free, clipped = map(torch.cat, updates)
    torch.testing.assert_close(clipped, free * min(share, 1.0), rtol=1e-4, atol=1e-6)


def test_the_clipping_of_a_training_run_reaches_its_steps():
    """A bound of almost nothing leaves the weights where they were."""
    model, objective, _, _ = build("cross-entropy")
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = SGD(model.parameters(), momentum=0.0, weight_decay=0.0)
    fit(model, objective, batches(), schedule=SCHEDULE, optimizer=optimizer, gradient_clipping=1e-6)
    # nine steps of at most 0.05 · 1e-6
    moved = torch.cat([(after - one).detach().flatten() for one, after in zip(before, model.parameters(), strict=True)])
    assert 0 < moved.norm() < 1e-6


def lasting(step):
    """Return all that lives from one step to the next."""
    tensors = [*step.model.state_dict().values(), *step.optimizer.state().values(), *step.sums.values.values()]
    own = [vars(one).values() for one in (step, step._feed)]
    return tensors + [value for values in own for value in values if isinstance(value, torch.Tensor)]


def places(step):
    """Return the addresses of all that lives from one step to the next."""
    return [tensor.data_ptr() for tensor in lasting(step)]


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("case", ["cross-entropy", "AdamW", "all defences"])
def test_what_lives_from_step_to_step_stays_where_it_is(case, resident):
    model, objective, optimizer, after_step = build(case)
    feed = batches(resident=resident)
    step = TrainingStep(
        model.train(), objective, feed, optimizer, [0.01] * 12, "float32", after_step, torch.Generator()
    )
    before = None
    for epoch in range(4):
        step.begin(epoch, 0, 3 * epoch)
        optimizer.forget()
        step.sums.clear()
        assert [step() for _ in range(3)] == [6, 6, 3]
        before = before or places(step)
        assert places(step) == before


def test_a_step_goes_on_to_the_next_batch_and_rate_by_itself():
    """As a graph that is replayed: only the part on the device is called, without the host's."""
    seen = []

    def objective(model, images, labels):
        seen.append((images, labels))
        return CrossEntropy()(model, images, labels)

    class Rates(SGD):
        def step(self, rate):
            seen[-1] += (rate.item(),)
            super().step(rate)

    model = wide_resnet().train()
    step = TrainingStep(
        model, objective, batches(), Rates(model.parameters()), [0.5, 0.25, 0.125], "float32", None, torch.Generator()
    )
    step.begin(7, 1, 1)
    for size in (6, 3):
        step._once(size)
    for (images, labels, rate), (expected, its_labels), its_rate in zip(
        seen, batches().epoch(7, 1), (0.25, 0.125), strict=True
    ):
        assert torch.equal(images, expected) and torch.equal(labels, its_labels) and rate == its_rate


# --- capture --------------------------------------------------------------------------------------------------------


class FakeGraph:
    """Records the calls of the function during capture, and repeats them."""

    def __init__(self):
        self.recorded, self.generators = [], []

    def register_generator_state(self, generator):
        warnings.warn("deprecated", DeprecationWarning, stacklevel=2)  # as from PyTorch 2.14
        self.generators.append(generator)

    def replay(self):
        cuda.log.append(("replay", *self.recorded))


cuda = SimpleNamespace()


def set_sync_debug_mode(mode):
    if mode == "warn":
        warnings.warn("a prototype that does not detect all synchronizing operations", stacklevel=1)
    cuda.sync = mode


@pytest.fixture
def fake(monkeypatch):
    """PyTorch's functions for CUDA graphs, as far as `Captured` calls them."""
    cuda.log, cuda.pools, cuda.states, cuda.left = [], [], [], []
    cuda.capturing, cuda.sync = None, 0

    @contextlib.contextmanager
    def graph(one, *, pool, stream):
        assert stream.name == "own stream"
        cuda.capturing = one
        cuda.pools.append(pool)
        try:
            yield
        except Exception:
            raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904
        finally:
            cuda.capturing = None

    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    stream = SimpleNamespace(name="own stream", device=SimpleNamespace(index=0))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda *_: stream)
    monkeypatch.setattr(torch.cuda, "default_generators", (torch.Generator(),))
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: cuda.sync)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", set_sync_debug_mode)
    monkeypatch.setattr(steps, "_renew", lambda generator, state: cuda.states.append((generator, state)))
    monkeypatch.setattr(steps, "_tidy_up", lambda graph, *rest: cuda.left.append((type(graph), *rest)))
    return cuda


def function(size):
    if cuda.capturing is None:
        cuda.log.append(("run", size))
    else:
        cuda.capturing.recorded.append(size)


def captured(function, **options):
    return Captured(function, torch.Generator(), forget=lambda: None, **options)


def test_after_a_few_calls_of_a_size_a_graph_is_replayed(fake, capsys):
    assert WARM_UP == 3
    one = captured(function)
    for size in (6, 6, 3) * 5:
        one(size)
    whole = [("run", 6)] * 3 + [("replay", 6)] * 7
    last = [("run", 3)] * 3 + [("replay", 3)] * 2
    assert [call for call in fake.log if call[1] == 6] == whole
    assert [call for call in fake.log if call[1] == 3] == last
    # the graphs share their memory, and have the generator of the run
    assert len(fake.pools) == 2 and fake.pools[0] is fake.pools[1]
    assert all(graph.generators == [one.generator] for graph in one.graphs.values())
    assert fake.sync == 0
    assert capsys.readouterr().err == ""


def test_a_step_that_waits_is_not_captured_and_its_line_is_named(fake, capsys):
    def waits(size):
        function(size)
        if fake.sync == "warn":
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)  # as PyTorch says it

    one = captured(waits, name="seed 3")
    for _ in range(6):
        one(6)
    assert fake.log == [("run", 6)] * 6
    assert fake.pools == []
    message = capsys.readouterr().err
    assert "cannot repeat the training step of seed 3, so steps are not captured" in message
    assert f"of {__file__} reads a value on the host." in message
    assert len(message.splitlines()) == 1


def test_other_warnings_of_a_step_prevent_nothing(fake):
    def warns(size):
        warnings.warn("deprecated", stacklevel=1)
        function(size)

    one = captured(warns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(5):
            one(6)
    assert fake.log == [("run", 6)] * 3 + [("replay", 6)] * 2


def test_after_a_capture_that_fails_steps_run_one_by_one(fake, capsys):
    def refuses(size):
        if fake.capturing is not None and size == 3:
            raise ValueError("not while capturing\nmore")
        function(size)

    one = captured(refuses)
    before = one.generator.get_state()
    for size in (6, 6, 3) * 5:
        one(size)
    # the batch of the failed capture is trained on, and no graph is used from then on
    assert [call for call in fake.log if call[1] == 3] == [("run", 3)] * 5
    assert [call for call in fake.log if call[1] == 6] == [("run", 6)] * 3 + [("replay", 6)] * 5 + [("run", 6)] * 2
    message = capsys.readouterr().err
    assert message.splitlines() == [
        "A CUDA graph cannot repeat the training step, so steps are not captured: not while capturing."
    ]
    # both generators that a capture touches continue from before it
    assert [generator for generator, _ in fake.states] == [one.generator, torch.cuda.default_generators[0]]
    assert torch.equal(fake.states[0][1], before)
    assert fake.left == [(FakeGraph, 0, fake.pools[0])]


@pytest.mark.parametrize("inside", [False, True])
def test_the_memory_of_a_failed_capture_is_released_once(inside, monkeypatch):
    """`inside`: the allocator still goes to the pool after a reset, which before PyTorch 2.14 then has not released it."""
    calls = []

    class Graph:
        def reset(self):
            calls.append("reset")

    def leave(device, pool):
        if not inside:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        calls.append(("leave", device, pool))

    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", leave, raising=False)
    monkeypatch.setattr(
        torch._C, "_cuda_releasePool", lambda device, pool: calls.append(("release", device, pool)), raising=False
    )
    steps._tidy_up(Graph(), 0, "pool")
    assert calls == ["reset", *([("leave", 0, "pool"), ("release", 0, "pool")] if inside else [])]


def test_graphs_are_freed_with_the_step_that_they_repeat():
    """Not later, by a garbage collection: that frees the workspaces of a stream, which another training may use by then."""
    step = TrainingStep(
        wide_resnet().train(), CrossEntropy(), batches(), SGD([torch.zeros(1)]), [], "float32", None, torch.Generator()
    )
    graph = FakeGraph()
    step._captured = Captured(steps._weakly(step._once), step.generator, forget=step.optimizer.zero_grad)
    step._captured.graphs[6] = graph
    freed = weakref.ref(graph)
    gc.disable()
    try:
        del step, graph
        assert freed() is None
    finally:
        gc.enable()


def test_an_error_of_the_step_itself_is_raised(fake):
    def broken(size):
        function(size)
        if len(fake.log) == WARM_UP + 1 or fake.capturing:
            raise ValueError("broken")

    one = captured(broken)
    for _ in range(WARM_UP):
        one(6)
    with pytest.raises(ValueError, match="broken"):
        one(6)


class Tape(TorchDispatchMode):
    """In place of a CUDA graph: keeps the operations of a capture, and repeats them on the same memory."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        self.kept.append((operation, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def replay(self):
        for operation, args, kwargs, result in self.kept:
            # what shares memory with its arguments has it still
            if operation.is_view or operation._schema.name == "aten::detach":
                continue
            again = operation(*args, **kwargs)
            if not operation._schema.is_mutable:
                for place, value in zip(tree_leaves(result), tree_leaves(again), strict=True):
                    if value is not None:
                        place.detach().copy_(value)


@pytest.mark.parametrize(
    "case",
    [*(case for case in CASES if case != "triplets"), "host", "clipped", "random_resized_crop", "trivial_augment"],
)
def test_a_step_is_the_same_operations_on_the_same_memory(case):
    """A replay has none of a step's Python, so it finds what depends on more than tensors: nothing does, but in `host`."""

    def take(replayed):
        model, objective, optimizer, after_step = build(case if case in CASES else "cross-entropy")
        images = batches(augmentation=case) if case in ("random_resized_crop", "trivial_augment") else batches()
        scales = iter(range(1, 9))
        if case == "host":
            objective = lambda *given: Step(next(scales) * CrossEntropy()(*given).loss, {})  # noqa: E731
        generator = torch.Generator().manual_seed(0)
        step = TrainingStep(
            *(model.train(), objective, images, optimizer, [0.01, 0.02] * 2, "float32", after_step, generator),
            gradient_clipping=0.5 if case == "clipped" else None,
        )
        step.begin(0, 0, 0)
        step()
        if replayed:
            # a capture runs nothing, but the tape does: from a state that is put back
            kept = [(place, place.clone()) for place in lasting(step)]
            drawn = generator.get_state()
            with Tape() as tape:
                step._once(6)
            for place, value in kept:
                place.copy_(value)
            generator.set_state(drawn)
            step._once = lambda _: tape.replay()
        for number in range(2):
            step.begin(number, 0, 1 + number)
            step()
        return [place.clone() for place in lasting(step)]

    equal = [torch.equal(one, other) for one, other in zip(take(False), take(True), strict=True)]
    assert all(equal) == (case != "host")
