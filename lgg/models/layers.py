"""The layers of any network: found by one forward pass, chosen by name, pattern or rule, and collected while it runs."""

import copy
import difflib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import accumulate, dropwhile, groupby, islice, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lgg.errors import NetworkError

#: images of a trace: more than one, since some networks squeeze their outputs
IMAGES = 2
#: layers that a message lists at most
SHOWN = 60
#: the representation before the classifier: the first vector (B, C) computed from maps that a module is given
POOLED = "pooled"
BOTTLENECK = "bottleneck"


@dataclass(frozen=True)
class Place:
    """Where a representation is taken: what run number `run` (0: the last) of a module returns, or is given."""

    path: str
    run: int = 0
    is_input: bool = False


@dataclass(frozen=True)
class Traced:
    """A layer's output in a forward pass.

    Attributes:
        name: as in ``named_modules()``; "name#2" for the second run of a module that runs several times.
        shape: of one image's output.
        negative: whether it can have negative values.
        overwritten: whether a later layer changes it in place.
        place: where it is taken.
        joint: whether everything that the network computes from the images passes through it.
        rectified: whether it is the output of a ReLU, and the module is the innermost that returns it.
        weights: modules with a matrix or filters in the module: 0 in a ReLU, several in a block.
        fickle: whether it is random in training, as the output of dropout.
        tensor: number of the tensor: equal for modules that return the same one.
        is_leaf: whether the module has weights itself, as a convolution, rather than layers that have some.
    """

    name: str
    shape: tuple[int, ...]
    negative: bool
    overwritten: bool = False
    place: Place = field(default=Place(""), repr=False)
    joint: bool = field(default=False, repr=False)
    rectified: bool = field(default=False, repr=False)
    weights: int = field(default=0, repr=False)
    fickle: bool = field(default=False, repr=False)
    tensor: int = field(default=0, repr=False)
    is_leaf: bool = field(default=False, repr=False)

    @property
    def positions(self) -> int:
        """The number of pixels, patches or tokens: 1 for a vector."""
        if len(self.shape) == 3:
            # images are square: channels are first, or last as in Swin
            height, width = self.shape[1:] if self.shape[1] == self.shape[2] else self.shape[:2]
            return height * width
        return self.shape[0] if len(self.shape) == 2 else 1

    @property
    def is_map(self) -> bool:
        """Whether it has positions, however few, rather than being a vector."""
        return len(self.shape) > 1

    @property
    def channels(self) -> int:
        """The number of values of each position."""
        return math.prod(self.shape) // max(1, self.positions)


def trace(network: nn.Module, image_size: int) -> list[Traced]:
    """Return the layers that run for images of side `image_size`, in the order in which they finish.

    The network runs once, in evaluation mode, on noise; its state and torch's generator are left as they were. Modules that
    return something else than one tensor (B, ...) are not listed. The representation "pooled", the first vector (B, C)
    computed from maps that a module is given, is listed if there is one. On the device "meta" nothing is computed, and signs
    are not looked at but only inferred.
    """
    return follow(network, image_size)[0]


def follow(network: nn.Module, image_size: int) -> tuple[list[Traced], Any]:
    """Return what `trace` does, and what the network returned."""
    some = next(network.parameters(), torch.empty(0))
    noise = torch.Generator().manual_seed(0)
    images = torch.randn(IMAGES, 3, image_size, image_size, generator=noise).to(some.device, some.dtype)
    modes = {module: module.training for module in network.modules()}
    watch = _Watch(network)
    network.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), watch:
            watch.begin(images)
            output = network(images)
    finally:
        watch.close()
        for module, mode in modes.items():
            module.training = mode
    return watch.layers(output), output


def shadow(network: nn.Module) -> nn.Module:
    """Return a copy of a network on the device "meta", whose passes compute shapes only; its weights are not copied."""
    memo: dict[int, Any] = {}
    for tensor in (*network.parameters(), *network.buffers()):
        empty = torch.empty_like(tensor, device="meta")
        is_weight = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(empty, requires_grad=tensor.requires_grad) if is_weight else empty
    return copy.deepcopy(network, memo)


# --- following a pass -------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Made:
    """A tensor computed from the images, until something changes it in place."""

    time: int  # when it was made, in calls of functions
    last: int  # when it was last used
    positive: bool  # whether it has no negative values for any input
    rectified: bool


@dataclass(eq=False)
class _Seen:
    """A tensor at a module."""

    path: str
    run: int
    is_input: bool
    shape: tuple[int, ...]
    made: _Made
    time: int
    negative: bool
    output: Tensor
    version: int


#: functions without negative values, those that keep the sign of their tensors, and those for which numbers count too
_POSITIVE = {"relu", "relu6", "sigmoid", "hardsigmoid", "softmax", "softplus", "abs", "square", "exp"}
_KEEPING = {
    *("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "mean", "amax", "sum", "cat", "stack"),
    *("flatten", "unflatten", "view", "reshape", "permute", "transpose", "contiguous", "squeeze", "unsqueeze"),
    *("expand", "getitem", "chunk", "split", "unbind", "dropout", "roll", "to", "float", "clone", "detach"),
}
_COMBINING = {"add", "iadd", "radd", "mul", "imul", "rmul", "div", "truediv"}
#: functions with a lower bound: the name of that argument, the second
_BOUNDED = {"hardtanh": "min_val", "clamp": "min", "clip": "min", "clamp_min": "min"}
_MARK = "_lgg_made"


class _Watch(TorchFunctionMode):
    """Follows a pass of `network`: which tensors come from which, when each is last used, and which modules return them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._time = 0
        self._made: list[_Made] = []
        self._seen: list[_Seen] = []
        self._runs: dict[str, int] = {}
        self._has_maps_behind = False
        self._is_looking = False
        self._handles: list[Any] = []
        for name, module in network.named_modules():
            if name:
                self._handles.append(module.register_forward_pre_hook(self._before(name)))
                self._handles.append(module.register_forward_hook(self._after(name)))

    def begin(self, images: Tensor) -> None:
        self._mark(images, positive=False)
        self._time += 1

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._is_looking:
            return function(*args, **kwargs)
        given = list(_tensors((args, kwargs)))
        used = [made for tensor in given if (made := getattr(tensor, _MARK, None)) is not None]
        versions = [tensor._version for tensor in given] if used else []
        result = function(*args, **kwargs)
        name = getattr(function, "__name__", "").strip("_")
        results = [*given[:1]] if name == "setitem" else list(_tensors(result))
        if not used or not results:
            return result
        unchanged = {id(tensor) for tensor, version in zip(given, versions, strict=True) if tensor._version == version}
        for made in used:
            made.last = self._time
        positive = self._is_positive(
            name, args, kwargs, len(used) == len(given) and all(made.positive for made in used)
        )
        rectified = name in ("relu", "relu6") or _bound(name, args, kwargs) == 0
        for tensor in results:
            if id(tensor) not in unchanged or getattr(tensor, _MARK, None) is None:
                self._mark(tensor, positive=positive, rectified=rectified)
        self._time += 1
        return result

    def _is_positive(self, name: str, args: Sequence[Any], kwargs: dict[str, Any], were: bool) -> bool:
        bound = _bound(name, args, kwargs)
        if bound is not None:
            return bound >= 0
        if name in _COMBINING:
            return were and all(one >= 0 for one in (*args, *kwargs.values()) if isinstance(one, int | float))
        return name in _POSITIVE or (name in _KEEPING and were)

    def _mark(self, tensor: Tensor, *, positive: bool, rectified: bool = False) -> None:
        made = _Made(self._time, self._time, positive, rectified)
        self._made.append(made)
        setattr(tensor, _MARK, made)

    def _before(self, path: str) -> Callable[[nn.Module, Any], None]:
        def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            x = inputs[0] if inputs else None
            if self._has_maps_behind and isinstance(x, Tensor) and x.dim() == 2:
                self._see(path, self._runs.get(path, 0) + 1, x, is_input=True)

        return hook

    def _after(self, path: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            self._runs[path] = self._runs.get(path, 0) + 1
            if isinstance(output, Tensor) and not output.is_nested:
                self._has_maps_behind |= output.dim() > 2 and _weights(module) > 0
                if getattr(output, _MARK, None) is None:  # made by what PyTorch does not show
                    for tensor in _tensors(inputs):
                        if (made := getattr(tensor, _MARK, None)) is not None:
                            made.last = self._time
                    self._mark(output, positive=False)
                    self._time += 1
                self._see(path, self._runs[path], output)

        return hook

    def _see(self, path: str, run: int, x: Tensor, *, is_input: bool = False) -> None:
        self._is_looking = True
        try:
            made = getattr(x, _MARK, None)
            if made is None or x.dim() < 2 or len(x) != IMAGES or not x.is_floating_point():
                return
            negative = not made.positive and (x.is_meta or bool((x < 0).any()) or not bool(x.any()))
            shape = tuple(x.shape[1:])
            self._seen.append(_Seen(path, run, is_input, shape, made, self._time, negative, x, x._version))
        finally:
            self._is_looking = False

    def layers(self, output: Any) -> list[Traced]:
        """Return what was seen, once the pass has ended."""
        modules = dict(self.network.named_modules())
        for tensor in islice(_tensors(output), 1):  # the logits
            if (made := getattr(tensor, _MARK, None)) is not None:
                made.last = self._time
        alive = self._alive()
        numbers = {made: number for number, made in enumerate(self._made)}
        found: list[Traced] = []
        rectified: set[_Made] = set()
        pooled = next((one for one in self._seen if one.is_input and _is_joint(one, alive)), None)
        for one in self._seen:
            if one.is_input and (one is not pooled or POOLED in modules):
                continue
            several = self._runs[one.path] > 1 if not one.is_input else False
            module = modules[one.path]
            found.append(
                Traced(
                    POOLED if one.is_input else f"{one.path}#{one.run}" if several else one.path,
                    one.shape,
                    one.negative,
                    one.output._version != one.version,
                    Place(one.path, one.run if several or one.is_input else 0, one.is_input),
                    _is_joint(one, alive),
                    one.made.rectified and one.made not in rectified and not one.is_input,
                    0 if one.is_input else _weights(module),
                    isinstance(module, nn.modules.dropout._DropoutNd) and not one.is_input,
                    numbers[one.made],
                    not one.is_input and _weights(module) == 1 and not any(module.children()),
                )
            )
            rectified |= {one.made} if one.made.rectified else set()
        return found

    def _alive(self) -> list[int]:
        """Return for each time the number of tensors that were made before it and are used from then on."""
        changes = [0] * (self._time + 2)
        for made in self._made:
            changes[made.time + 1] += 1
            changes[made.last + 1] -= 1
        return list(accumulate(changes))


def _bound(name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> float | None:
    """Return the number below which no output of a call of the function `name` lies; None if it has none."""
    if name not in _BOUNDED:
        return None
    bound = args[1] if len(args) > 1 else kwargs.get(_BOUNDED[name])
    return bound if isinstance(bound, int | float) else None


def _is_joint(one: _Seen, alive: Sequence[int]) -> bool:
    """Return whether all that follows is computed from this tensor alone."""
    return alive[one.time] == 1 and one.made.time < one.time <= one.made.last


def _tensors(given: Any) -> Iterator[Tensor]:
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, list | tuple):
        for one in given:
            yield from _tensors(one)
    elif isinstance(given, dict):
        yield from _tensors(list(given.values()))


def _weights(module: nn.Module) -> int:
    return sum(any(p.dim() > 1 for p in part.parameters(recurse=False)) for part in module.modules())


# --- choosing layers --------------------------------------------------------------------------------------------------


def choose(traced: Sequence[Traced], wanted: str | Sequence[str]) -> list[Traced]:
    """Return the layers that `wanted` names, in the order of the pass.

    Args:
        traced: all layers, of `trace`.
        wanted: "stages", "relus", or a list of names and shell patterns; those without a number of a run mean the last run.

    Raises NetworkError, which lists the layers there are, where a name or pattern fits none, or a layer is overwritten.
    """
    if wanted == "stages":
        return stages(traced)
    if wanted == "relus":
        return relus(traced)
    if isinstance(wanted, str):
        raise NetworkError(f'layers must be "stages", "relus" or a list of names, not {wanted!r}')
    last = {_bare(one): one for one in traced}
    chosen: dict[int, Traced] = {}
    for name in wanted:
        fitting = [place for place, one in enumerate(traced) if _fits(one, name, last)]
        if not fitting:
            raise NetworkError(_no_such_layer(name, traced))
        kept = [place for place in fitting if not traced[place].overwritten]
        if not kept:
            raise NetworkError(overwritten(traced[fitting[0]].name))
        for place in kept:
            one = traced[place]
            chosen[place] = replace(one, name=name) if name == _bare(one) else chosen.get(place, one)
    if not chosen:
        raise NetworkError(f"layers is empty; {_listed(traced)}")
    return [chosen[place] for place in sorted(chosen)]


def overwritten(name: str) -> str:
    """Return the message that the output of a layer is lost."""
    return (
        f"the output of layer {name!r} is overwritten by the layer after it, as nn.ReLU(inplace=True) does; name the layer "
        "after it instead, or make that one work out of place"
    )


def _bare(one: Traced) -> str:
    return one.name.partition("#")[0]


def _fits(one: Traced, pattern: str, last: dict[str, Traced]) -> bool:
    name = one.name if "#" in pattern else _bare(one)
    is_meant = "#" in pattern or last[_bare(one)] is one
    return is_meant and (name == pattern or fnmatchcase(name, pattern))


def _no_such_layer(name: str, traced: Sequence[Traced]) -> str:
    names = [one.name for one in traced]
    near = difflib.get_close_matches(name, names, cutoff=0.4)
    hint = f"the closest names are {', '.join(near)}; " if near else ""
    return f"the network has no layer {name!r} that returns a tensor; {hint}{_listed(traced)}"


def _listed(traced: Sequence[Traced]) -> str:
    names = [one.name for one in traced if not one.overwritten]
    more = f" and {len(names) - SHOWN} others" if len(names) > SHOWN else ""
    return f"there are {', '.join(names[:SHOWN])}{more}"


def stages(traced: Sequence[Traced]) -> list[Traced]:
    """Return the ends of a network's stages and the pooled vector.

    A stage is the blocks that run at one size of the images, and its end the output of the last of them; or a later output
    at that size without negative values, as of a ReLU, where the block's has some. All that follows must be computed from
    it. Networks without blocks end a stage with the last layer at each size. Where all blocks run at one size, as those of a
    vision transformer, the ends are those of four equal parts. The classifier does not count.

    Raises NetworkError if nothing fits, as for a network of one layer.
    """
    usable = [one for one in _before_classifier(traced) if one.joint]
    blocks = _blocks(traced)
    inside = tuple(f"{block.place.path}." for block in blocks.values())
    maps = [one for one in usable if one.is_map and (one.tensor in blocks or not one.place.path.startswith(inside))]
    spatial = _outermost(maps)
    parts = [list(part) for _, part in groupby(spatial, key=lambda one: one.positions)]
    with_blocks = [part for part in parts if any(one.tensor in blocks for one in part)]
    if len(with_blocks) == 1 and len(blocks) > 2:
        ends = _quarters([one for one in with_blocks[0] if one.tensor in blocks])
    else:
        parts = with_blocks if len(with_blocks) > 1 else [part for part in parts if any(one.is_leaf for one in part)]
        ends = [end for part in parts if (end := _end(part, blocks)) is not None]
    if not spatial:
        ends = _inputs_of_layers(usable)
    ends = [one for one in ends if not one.overwritten]
    # before a convolution that classifies, the pooled vector is a map of one pixel
    vectors = [one for one in usable if one.place.is_input] or [one for one in spatial if one.positions == 1][-1:]
    pooled = [one for one in vectors if not one.overwritten]
    if pooled:
        ends = [one for one in ends if not (one.is_map and one.positions == 1)]
    if not ends + pooled:
        raise NetworkError(f"no stages were found in this network: list its layers by name; {_listed(traced)}")
    return ends + pooled


def _inputs_of_layers(vectors: Sequence[Traced]) -> list[Traced]:
    """Return the outputs from which the next layer with weights is computed, but for those before the first one."""
    steady = list(dropwhile(lambda one: not one.is_leaf, _outermost(vectors)))
    return [one for one, after in pairwise([*steady, None]) if one and (after is None or after.is_leaf)]


def _quarters(blocks: Sequence[Traced]) -> list[Traced]:
    ends = {len(blocks) * part // 4 for part in (1, 2, 3, 4)}
    return [blocks[end - 1] for end in sorted(ends) if end]


def _end(part: Sequence[Traced], blocks: dict[int, Traced]) -> Traced | None:
    """Return the end of the stage with these outputs."""
    lasting = [one for one in part if not one.overwritten]
    ends = [place for place, one in enumerate(lasting) if one.tensor in blocks]
    if not ends:
        return lasting[-1] if lasting else None
    end = lasting[ends[-1]]
    later = [one for one in lasting[ends[-1] + 1 :] if not one.negative]
    return later[-1] if later and end.negative else end


def relus(traced: Sequence[Traced]) -> list[Traced]:
    """Return the outputs of all ReLUs, but those of squeeze-and-excitation, which see only the mean of each channel.

    Raises NetworkError if there are none.
    """
    found = [one for one in traced if one.rectified and not one.overwritten and (one.joint or one.positions > 1)]
    if not found:
        raise NetworkError(
            f'there is no ReLU in this network for layers: "relus"; use "stages", or list names: {_listed(traced)}'
        )
    return found


def block_paths(traced: Sequence[Traced]) -> list[str]:
    """Return the modules after which the dropout test drops values: blocks, or without any, stages."""
    blocks = list(_blocks(traced).values()) or [one for one in stages(traced) if not one.place.is_input]
    return list(dict.fromkeys(one.place.path for one in blocks))


def classifier_of(traced: Sequence[Traced], outputs: int) -> str | None:
    """Return the path of the last layer with weights, if it has as many outputs as there are classes; otherwise None."""
    final = next((one for one in reversed(traced) if one.joint and one.is_leaf), None)
    return final.place.path if final is not None and outputs in (final.channels, final.shape[0]) else None


def _before_classifier(traced: Sequence[Traced]) -> list[Traced]:
    """Return the layers before the last one with weights; all if there are blocks after it, as where there are two heads."""
    last = max((place for place, one in enumerate(traced) if one.joint and one.is_leaf), default=len(traced))
    later = [one for one in traced[last + 1 :] if one.joint and one.weights > 1]
    if any(not traced[last].place.path.startswith(f"{one.place.path}.") for one in later):
        return list(traced)
    return list(traced[:last])


def _blocks(traced: Sequence[Traced]) -> dict[int, Traced]:
    """Return the innermost modules with several layers with weights that everything passes through, by their tensor.

    Layers that see fewer positions than the module returns do not count, as those of squeeze-and-excitation. Of a module
    that works at many sizes, as the features of VGG, the stages are within it. None if there is only one block.
    """
    leaves = [one for one in traced if one.is_leaf]
    candidates = [
        one
        for one in _before_classifier(traced)
        if one.joint and one.is_map and one.weights > 1 and _is_block(one, leaves)
    ]
    found: dict[int, Traced] = {}
    for one in candidates:
        inside = {other.tensor for other in candidates if other.place.path.startswith(f"{one.place.path}.")}
        if inside <= {one.tensor}:
            found[one.tensor] = one  # of modules that return the same tensor the outermost, which ends last
    return found if len(found) > 1 else {}


def _is_block(one: Traced, leaves: Sequence[Traced]) -> bool:
    inside = [leaf.positions for leaf in leaves if leaf.place.path.startswith(f"{one.place.path}.")]
    # without any: its weights are used by functions; of many sizes: it contains stages
    return not inside or (sum(size >= one.positions for size in inside) > 1 and len(set(inside)) < 4)


def _outermost(layers: Sequence[Traced]) -> list[Traced]:
    """Return one layer for each tensor, the outermost module that returns it, without those that are random."""
    found: dict[int, Traced] = {}
    for one in layers:
        if not (one.place.is_input or one.fickle):
            depth = one.place.path.count(".")
            known = found.get(one.tensor)
            found[one.tensor] = one if known is None or depth < known.place.path.count(".") else known
    return list(found.values())


# --- collecting representations ---------------------------------------------------------------------------------------


@contextmanager
def collected(network: nn.Module, places: Sequence[Place]) -> Iterator[Callable[[Sequence[str]], list[Tensor]]]:
    """Collect what passes `places` in the block, which runs `network` once.

    Yields a function that returns the tensors, in the order of `places`; it takes their names, for messages. It raises
    RuntimeError for a place that was not passed, or whose tensor was overwritten since.
    """
    found: dict[Place, tuple[Tensor, int | None]] = {}
    handles = []
    by_path: dict[tuple[str, bool], list[Place]] = {}
    for place in places:
        by_path.setdefault((place.path, place.is_input), []).append(place)
    for (path, is_input), here in by_path.items():
        module = network.get_submodule(path)
        hook = _keep(here, found)
        if is_input:
            handles.append(module.register_forward_pre_hook(lambda _, inputs, hook=hook: hook(inputs[0])))
        else:
            handles.append(module.register_forward_hook(lambda _, __, output, hook=hook: hook(output)))
    try:
        yield lambda names: [_taken(found, place, name) for place, name in zip(places, names, strict=True)]
    finally:
        for handle in handles:
            handle.remove()


def _keep(places: Sequence[Place], found: dict[Place, tuple[Tensor, int | None]]) -> Callable[[Any], None]:
    runs = 0

    def keep(output: Any) -> None:
        nonlocal runs
        runs += 1
        for place in places:
            if place.run in (0, runs) and isinstance(output, Tensor):
                counts = not (torch.compiler.is_compiling() or output.is_inference())
                found[place] = output, output._version if counts else None

    return keep


def _taken(found: dict[Place, tuple[Tensor, int | None]], place: Place, name: str) -> Tensor:
    if place not in found:
        raise RuntimeError(f"layer {name!r} did not run, or returned no tensor, in the last forward pass")
    output, version = found[place]
    if version is not None and output._version != version:
        raise RuntimeError(overwritten(name))
    return output
