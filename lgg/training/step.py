"""One step of training, as a function of tensors that exist before it, and its replay as a CUDA graph.

Nothing in a step depends on a value that the host would have to read, and what lives from step to step stays where it is in
memory: weights, the optimiser's state, the epoch's order and crops, the number of the step, the sums of the history. So a
step can be recorded once on a GPU and then be replayed, which costs the host one launch instead of hundreds.
"""

import contextlib
import sys
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
) -> Step:
    """Train `model`, in training mode, on one batch at learning rate `rate`, and return the objective's outcome."""
    optimizer.zero_grad()
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        step = objective(model, images, labels)
    step.loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step(rate)
    if after_step is not None:
        after_step()
    return step


class TrainingStep:
    """The steps of a training run, one per call; `begin` comes before the first one of an epoch.

    Args:
        model: on the device of `batches`; the caller puts it into training mode.
        objective, batches, optimizer, after_step: as `lgg.training.fit.fit` takes them.
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
        apart: bool = False,
        captured: bool = False,
        name: str = "",
    ) -> None:
        self.model = model
        self.objective = objective
        self.optimizer = optimizer
        self.precision = precision
        self.after_step = after_step
        self.generator = generator
        self.sums = Sums()
        self._feed = Feed(batches)
        self._rates = torch.tensor(rates, dtype=torch.float32).to(batches.device)
        self._number = torch.zeros(1, dtype=torch.int64, device=batches.device)
        on_gpu = batches.device.type == "cuda"
        self._stream = torch.cuda.Stream(batches.device) if on_gpu and (apart or captured) else None
        if self._stream is not None:
            # what was written so far, in the stream of the caller, comes before what this one reads
            self._stream.wait_stream(torch.cuda.current_stream(batches.device))
        self._run: Callable[[int], None] = self._once
        if on_gpu and captured:
            self._run = Captured(self._once, generator, forget=optimizer.zero_grad, name=name)

    @property
    def is_captured(self) -> bool:
        """Whether steps are replayed as CUDA graphs, which those before the first capture never are."""
        return isinstance(self._run, Captured) and bool(self._run.graphs)

    def stream(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context in which everything of this training run happens on the device."""
        return contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def join(self) -> None:
        """Let the caller's stream wait for this one, once training has ended."""
        if self._stream is not None:
            torch.cuda.current_stream(self._stream.device).wait_stream(self._stream)

    def begin(self, epoch: int, first: int, number: int) -> None:
        """Go to batch `first` of `epoch`; its step has this `number` in the table of learning rates."""
        self._feed.begin(epoch, first)
        self._number.fill_(number)

    def __call__(self) -> int:
        """Take the next step, and return its number of images."""
        size = self._feed.load()
        self._run(size)
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
            self.model, self.objective, images, labels, self.optimizer, rate, self.precision, self.after_step
        )
        self.sums.add(step, labels)
        self._number.add_(1)


class Captured:
    """Calls `function` with a batch size; after a few calls of one size it replays a CUDA graph of the call instead.

    Capturing runs nothing, so the graph is replayed for its own step too. The graphs share one pool of memory: nothing that
    a graph allocates outlives its replay, and replays follow each other in one stream. If a capture fails, because something
    in the step needs a value on the host, steps run one by one from then on, and a line on standard error says so.

    Args:
        function: takes the batch size; changes only tensors that exist before.
        generator: the random numbers of `function`.
        forget: drops what a call leaves in memory that belongs to the graph, its gradients.
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
        if self.possible and size not in self.graphs and self._calls[size] >= WARM_UP:
            self._capture(size)
        if size in self.graphs:
            self.graphs[size].replay()
        else:
            self._calls[size] += 1
            self.function(size)

    def _capture(self, size: int) -> None:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.generator)
        states = [(each, each.get_state()) for each in self._generators()]
        self.forget()
        try:
            # in the stream of this run, in which the steps before it have run; other streams must not be used meanwhile
            with torch.cuda.graph(graph, pool=self._pool, stream=torch.cuda.current_stream()):
                self.function(size)
        except Exception as error:
            # an error of the step itself is raised again when it runs without a graph
            self.possible = False
            self.graphs.clear()
            for generator, state in states:
                _renew(generator, state)
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            whose = f" of {self.name}" if self.name else ""
            print(
                f"The training step{whose} reads a value on the host, or does something else that a CUDA graph cannot "
                f"repeat, so steps are not captured: {reason}",
                file=sys.stderr,
                flush=True,
            )
        else:
            self._pool = graph.pool()
            self.graphs[size] = graph
        self.forget()

    def _generators(self) -> list[torch.Generator]:
        """Return the generators that a capture touches: PyTorch registers that of the device by itself."""
        index = self.generator.device.index
        return [self.generator, torch.cuda.default_generators[torch.cuda.current_device() if index is None else index]]


def _renew(generator: torch.Generator, state: Tensor) -> None:
    """Give `generator` a new state of the value `state`, since that of a failed capture still counts as being captured."""
    fresh = torch.Generator(generator.device)
    fresh.set_state(state)
    generator.graphsafe_set_state(fresh.graphsafe_get_state())
