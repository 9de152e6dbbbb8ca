"""One step of training, as a function of tensors that exist before it, and its replay as a CUDA graph.

Nothing in a step depends on a value that the host would have to read, and what lives from step to step stays where it is in
memory: weights, the optimiser's state, the epoch's order and crops, the number of the step, the sums of the history. So a
step can be recorded once on a GPU and then be replayed, which costs the host one launch instead of hundreds.
"""

import contextlib
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lgg.data.batches import Batches, Feed
from lgg.devices import Precision
from lgg.training.history import Sums
from lgg.training.objectives import Objective, Step
from lgg.training.optimizers import Optimizer
from lgg.training.terminal import tell

#: steps of a batch size that run one by one before it is captured: libraries allocate, and losses look at first batches
WARM_UP = 3


def train_step(
    model: Any,
    objective: Objective,
    images: Tensor,
    labels: Tensor,
    optimizer: Optimizer,
    rate: float | Tensor,
    precision: Precision,
    after_step: Callable[[], None] | None,
    gradient_clipping: float | None = None,
) -> Step:
    """Train `model`, in training mode, on one batch at learning rate `rate`, and return the objective's outcome."""
    optimizer.zero_grad()
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        step = objective(model, images, labels)
    step.loss.backward()  # type: ignore[no-untyped-call]
    if gradient_clipping is not None:
        # all at once, and without reading the norm
        torch.nn.utils.clip_grad_norm_(model.parameters(), gradient_clipping, foreach=True)
    optimizer.step(rate)
    if after_step is not None:
        after_step()
    return step


class TrainingStep:
    """The steps of a training run, one per call; `begin` comes before the first one of an epoch.

    Args:
        model: on the device of `batches`; the caller puts it into training mode.
        objective, batches, optimizer, after_step, gradient_clipping: as `lgg.training.fit.fit` takes them.
        rates: the learning rate of every step that is numbered.
        precision: "float32" or "bfloat16".
        generator: of the random numbers of the objective, on the device of `batches`.
        apart: whether to run in a CUDA stream of its own, beside other training runs.
        captured: whether to replay steps as CUDA graphs; these have a stream of their own. Does nothing on a CPU.
        name: of the network, for messages.

    Attributes:
        sums: sums over the steps, see `lgg.training.history.Sums`.
    """

    def __init__(
        self,
        model: Any,
        objective: Objective,
        batches: Batches,
        optimizer: Optimizer,
        rates: Sequence[float],
        precision: Precision,
        after_step: Callable[[], None] | None,
        generator: torch.Generator,
        *,
        gradient_clipping: float | None = None,
        apart: bool = False,
        captured: bool = False,
        name: str = "",
    ) -> None:
        self.model = model
        self.objective = objective
        self.optimizer = optimizer
        self.precision = precision
        self.after_step = after_step
        self.gradient_clipping = gradient_clipping
        self.generator = generator
        self.sums = Sums()
        self._feed = Feed(batches)
        self._rates = torch.tensor(rates, dtype=torch.float32).to(batches.device)
        self._number = torch.zeros(1, dtype=torch.int64, device=batches.device)
        on_gpu = batches.device.type == "cuda"
        self._stream: torch.cuda.Stream | None = None
        if on_gpu and (apart or captured):
            self._stream = torch.cuda.Stream(batches.device)  # type: ignore[no-untyped-call]
            # what was written so far, in the stream of the caller, comes before what this one reads
            self._stream.wait_stream(torch.cuda.current_stream(batches.device))
        self._captured: Captured | None = None
        if on_gpu and captured:
            self._captured = Captured(_weakly(self._once), generator, forget=optimizer.zero_grad, name=name)

    @property
    def is_captured(self) -> bool:
        """Whether steps are replayed as CUDA graphs, which those before the first capture never are."""
        return self._captured is not None and bool(self._captured.graphs)

    def stream(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context in which everything of this training run happens on the device."""
        return contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def join(self) -> None:
        """Let the caller's stream wait for this one, and free the memory of the graphs, once training has ended."""
        self._captured = None
        if self._stream is not None:
            torch.cuda.current_stream(self._stream.device).wait_stream(self._stream)

    def begin(self, epoch: int, first: int, number: int) -> None:
        """Go to batch `first` of `epoch`; its step has this `number` in the table of learning rates."""
        self._feed.begin(epoch, first)
        self._number.fill_(number)

    def __call__(self) -> int:
        """Take the next step, and return its number of images."""
        size = self._feed.load()
        if self._captured is None:
            self._once(size)
        else:
            self._captured(size)
        return size

    def _once(self, size: int) -> None:
        """Take a step on a batch of `size` images: a function of tensors alone."""
        # for each step anew, since training runs side by side may share an objective
        draw_from = getattr(self.objective, "draw_from", None)
        if draw_from is not None:
            draw_from(self.generator)
        images, labels = self._feed.take(size)
        rate = self._rates.index_select(0, self._number)[0]
        step = train_step(
            *(self.model, self.objective, images, labels, self.optimizer, rate, self.precision, self.after_step),
            gradient_clipping=self.gradient_clipping,
        )
        self.sums.add(step, labels)
        self._number.add_(1)


def _weakly(method: Callable[[int], None]) -> Callable[[int], None]:
    """Return `method` without a reference to its object.

    The graphs of a step are then freed with it rather than at some later garbage collection: freeing a graph also frees the
    workspaces of its stream, which by then may be those of another training run, since PyTorch has 32 streams.
    """
    reference = weakref.WeakMethod(method)

    def call(size: int) -> None:
        found = reference()
        assert found is not None
        found(size)

    return call


class Captured:
    """Calls `function` with a batch size; after a few calls of one size it replays a CUDA graph of the call instead.

    Capturing runs nothing, so the graph is replayed for its own step too. The graphs share one pool of memory: nothing that
    a graph allocates outlives its replay, and replays follow each other in one stream. If something in the step needs a value
    on the host, or a capture fails, steps run one by one from then on, and a line on standard error says so.

    Args:
        function: takes the batch size; changes only tensors that exist before.
        generator: of the random numbers of `function`.
        forget: drops what a call leaves in the memory of its graph, the gradients.
        name: of the network, for the message.
    """

    def __init__(
        self, function: Callable[[int], None], generator: torch.Generator, forget: Callable[[], None], name: str = ""
    ) -> None:
        self.function = function
        self.generator = generator
        self.forget = forget
        self.name = name
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self.possible = True
        self._calls: Counter[int] = Counter()
        self._pool: Any = None

    def __call__(self, size: int) -> None:
        self._calls[size] += 1
        if self.possible and self._calls[size] == WARM_UP:
            self._watch(size)
            return
        if self.possible and self._calls[size] == WARM_UP + 1:
            self._capture(size)
        if size in self.graphs:
            self.graphs[size].replay()
        else:
            self.function(size)

    def _watch(self, size: int) -> None:
        """Call the function and note if it waits for the device: a capture would fail, and leave PyTorch less tidy."""
        before = torch.cuda.get_sync_debug_mode()
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                # warns itself, that it may overlook some
                torch.cuda.set_sync_debug_mode("warn")
                self.function(size)
        finally:
            torch.cuda.set_sync_debug_mode(before)
        waits = [each for each in caught if "called a synchroniz" in str(each.message)]
        if waits:
            self._give_up(f"line {waits[0].lineno} of {waits[0].filename} reads a value on the host")

    def _capture(self, size: int) -> None:
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        pool = torch.cuda.graph_pool_handle() if self._pool is None else self._pool
        generators = [
            self.generator,
            torch.cuda.default_generators[stream.device.index],
        ]  # those that a capture changes
        states = [generator.get_state() for generator in generators]
        with warnings.catch_warnings(), contextlib.suppress(AttributeError):
            # newer versions of PyTorch notice by themselves which generators are used, and warn that this will go
            warnings.simplefilter("ignore")
            graph.register_generator_state(self.generator)
        self.forget()
        try:
            # in the stream in which the steps before it ran, so that autograd and the libraries use that one too
            with torch.cuda.graph(graph, pool=pool, stream=stream):
                self.function(size)
        except Exception as error:
            # if the step itself is wrong, running it without a graph raises its error again
            _tidy_up(graph, stream.device.index, pool)
            for generator, state in zip(generators, states, strict=True):
                _renew(generator, state)
            self.graphs.clear()  # they use the former states
            self._give_up(_first_line(error))
        else:
            self._pool, self.graphs[size] = pool, graph
        self.forget()

    def _give_up(self, reason: str) -> None:
        self.possible = False
        whose = f" of {self.name}" if self.name else ""
        tell(f"A CUDA graph cannot repeat the training step{whose}, so steps are not captured: {reason}.")


def _first_line(error: BaseException) -> str:
    """Return what went wrong first: the end of a failed capture only says that something did."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _tidy_up(graph: torch.cuda.CUDAGraph, device: int, pool: Any) -> None:
    """Free what a failed capture holds, and let the allocator leave `pool`.

    From PyTorch 2.14 `reset` does both. Before, it did so only if the capture itself ended well, and what is left then has
    no public function. If the allocator is not in the pool any more, `reset` has released it, and must be the only one.
    """
    with contextlib.suppress(RuntimeError):
        graph.reset()
    with contextlib.suppress(RuntimeError, AttributeError):
        torch._C._cuda_endAllocateToPool(device, pool)
        torch._C._cuda_releasePool(device, pool)


def _renew(generator: torch.Generator, state: Tensor) -> None:
    """Give `generator` a new state of value `state`: after a failed capture its own still counts as being captured."""
    fresh = torch.Generator(generator.device)
    fresh.set_state(state)
    generator.graphsafe_set_state(fresh.graphsafe_get_state())
