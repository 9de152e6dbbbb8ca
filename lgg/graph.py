"""Latent geometry graphs: construction, Laplacian and smoothness of labels (Section 3 of the paper).

All functions take and return torch tensors on any device. Similarities and distances are computed in at least float32,
even inside an autocast region.

Graphs of N layers of one batch are one tensor (N, B, B), since on a GPU the number of operations decides how long small
ones take: one product per layer, then each step for all layers at once. Steps whose gradients would take autograd many
operations have a closed form of them; a gradient that will itself be differentiated is left to autograd.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Literal, ParamSpec, TypeVar, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from lgg.products import (
    Call,
    ClosedForm,
    as_type,
    grams,
    inner_products,
    is_vectorised,
    product,
    sums_type,
    times_layers,
)

Similarity = Literal["cosine", "rbf", "rbf_squared"]

# up to this many dimensions, subtracting costs no more than a matrix product
MOST_DIMENSIONS_SUBTRACTED = 512

# added to a variance before dividing by its root, as in batch normalisation
SMALL_VARIANCE = 1e-5

P = ParamSpec("P")
R = TypeVar("R")


def _outside_autocast(function: Callable[P, R]) -> Callable[P, R]:
    """Disable autocast inside `function`, where it would compute matrix products in half precision."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        values = (
            one for value in (*args, *kwargs.values()) for one in (value if isinstance(value, Sequence) else [value])
        )
        tensors = (value for value in values if isinstance(value, Tensor))
        with torch.autocast(next((tensor.device.type for tensor in tensors), "cpu"), enabled=False):
            return function(*args, **kwargs)

    return wrapped


def at_least_float32(x: Tensor) -> Tensor:
    """Return `x` in float32, or unchanged if it is float64."""
    return x if x.dtype == torch.float64 else x.float()


def flatten_rows(x: Tensor) -> Tensor:
    """Return `x` of shape (B, ...) as a matrix (B, d) in float32, or in float64 if it is float64.

    Columns follow the order in memory, on which no similarity depends; channels-last images are thus not copied. Raises
    ValueError if `x` has fewer than two axes or no rows, or is nested or sparse.
    """
    return at_least_float32(_flatten(x))


def batch_size(x: Tensor) -> int:
    """Return B of representations `x` (B, ...); ValueError unless `x` is dense, has two or more axes, and B is at least 1."""
    if x.is_nested:
        raise ValueError(
            "representations must be dense tensors (B, ...), but this one is nested: its inputs have different lengths. "
            "nn.TransformerEncoder returns nested tensors in evaluation mode if it is given a padding mask; create it with "
            "enable_nested_tensor=False, and pool over the positions that are not padding"
        )
    if x.layout != torch.strided:
        raise ValueError(
            f"representations must be dense tensors (B, ...), but this one is {x.layout}; call .to_dense()"
        )
    if x.dim() < 2 or x.shape[0] == 0:
        raise ValueError(f"representations must have shape (B, ...) with B at least 1, not {tuple(x.shape)}")
    return x.shape[0]


def _flatten(x: Tensor) -> Tensor:
    batch_size(x)
    # torch.vmap does not expose the order in memory
    if x.dim() == 4 and not is_vectorised(x) and x.is_contiguous(memory_format=torch.channels_last):
        x = x.permute(0, 2, 3, 1)
    return x.flatten(1)


def unit_rows(x: Tensor) -> Tensor:
    """Return the rows of `x` (B, ...), flattened and scaled to unit length, shape (B, d).

    A row of zeros has no direction: it stays zero, has similarity zero to all others and receives no gradient.
    """
    return _UnitRows.of(flatten_rows(x))


class _UnitRows(ClosedForm):
    """z_i = x_i / ‖x_i‖, with the gradient (E − z ⟨E, z⟩) / ‖x‖ for E = ∂/∂z."""

    @staticmethod
    def plain(rows: Tensor) -> Tensor:
        return _UnitRows.forward(rows)[0]

    @staticmethod
    def forward(rows: Tensor) -> tuple[Tensor, Tensor]:
        inverse = _inverse_lengths(rows.square().sum(dim=1, keepdim=True))
        return rows * inverse, inverse

    @staticmethod
    def gradients(gradient: Tensor, call: Call) -> Sequence[Tensor]:
        unit, inverse = call.results
        along = (gradient * unit).sum(dim=1, keepdim=True)
        return [torch.addcmul(gradient, unit, along, value=-1.0).mul_(inverse)]


def _inverse_roots(values: Tensor, least: float) -> Tensor:
    """Return 1/√v for each of `values` v, zero for those that are not above `least`, with a gradient of zero."""
    # 1/√∞ is zero; two operations, and none divides by zero
    return F.threshold(values, least, torch.inf).rsqrt()


def standardize_columns(x: Tensor) -> Tensor:
    """Return the rows of `x` (B, ...), flattened, with mean 0 and variance 1 in each column over the batch, shape (B, d).

    It is batch normalisation without scale and shift, in at least float32. The variance is the biased one, raised by
    `SMALL_VARIANCE`, so that a constant column becomes zero.
    """
    rows = flatten_rows(x)
    if len(rows) == 1:  # which PyTorch refuses
        return rows - rows
    return torch.nn.functional.batch_norm(rows, None, None, training=True, eps=SMALL_VARIANCE)


def _inverse_lengths(squares: Tensor) -> Tensor:
    """Return 1/‖x_i‖ from ‖x_i‖² of any shape; zero for rows that are practically zero."""
    return _inverse_roots(squares, torch.finfo(squares.dtype).tiny)


def _diagonal(matrices: Tensor) -> Tensor:
    """Return the diagonals (..., B) of matrices (..., B, B), a view."""
    return matrices.diagonal(dim1=-2, dim2=-1)


def _scaled(matrices: Tensor, scale: Tensor) -> Tensor:
    """Return diag(s) M diag(s) for matrices M (..., B, B) and `scale` s (..., B), without a gradient."""
    return (matrices * scale[..., :, None]).mul_(scale[..., None, :])


class _Cosines(ClosedForm):
    """A_ij = G_ij / √(G_ii G_jj) from inner products G (..., B, B), with zeros on the diagonal unless `loops`.

    With r_i = 1/√G_ii and E = ∂/∂A, ∂/∂G is r_i E_ij r_j − ½ diag(r_i² Σ_j (E_ij + E_ji) A_ij). Scaling the few products
    costs less than scaling the rows.
    """

    @staticmethod
    def plain(products: Tensor, loops: bool) -> Tensor:
        inverse = _inverse_lengths(_diagonal(products))
        cosines = inverse[..., :, None] * products * inverse[..., None, :]
        return cosines if loops else _without_loops(cosines)

    @staticmethod
    def forward(products: Tensor, loops: bool) -> tuple[Tensor, Tensor]:
        inverse = _inverse_lengths(_diagonal(products))
        cosines = _scaled(products, inverse)
        if not loops:
            _diagonal(cosines).zero_()
        return cosines, inverse

    @staticmethod
    def gradients(gradient: Tensor, call: Call) -> Sequence[Tensor]:
        cosines, inverse = call.results
        found = _scaled(gradient, inverse)
        if not call.arguments[1]:  # loops
            _diagonal(found).zero_()
        _diagonal(found).addcmul_(_both_ways(gradient, cosines).mul_(inverse), inverse, value=-0.5)
        return [found]


def _both_ways(gradient: Tensor, values: Tensor) -> Tensor:
    """Return Σ_j (E_ij A_ij + E_ji A_ji) for a gradient E and `values` A (..., B, B), shape (..., B)."""
    parts = gradient * values
    return (parts + parts.mT).sum(dim=-1)


def _without_loops(weights: Tensor) -> Tensor:
    """Return `weights` (..., B, B) with zeros on the diagonal."""
    return weights.masked_fill(torch.eye(weights.shape[-1], dtype=torch.bool, device=weights.device), 0.0)


@_outside_autocast
def pairwise_distances(x: Tensor, *, squared: bool = False) -> Tensor:
    """Return the Euclidean distances between the rows of `x` (B, ...), shape (B, B), zero on the diagonal.

    In few dimensions coordinates are subtracted, so small distances keep full precision even if the batch has a large
    spread. In many dimensions a matrix product is used, whose rounding error is relative to that spread; the rows are
    centred first, which leaves distances unchanged and reduces the error. The gradient of the distance between two equal
    rows is zero.
    """
    return distances_of_layers([x], squared=squared).squeeze(0)


@_outside_autocast
def distances_of_layers(layers: Sequence[Tensor], *, squared: bool = False) -> Tensor:
    """Return `pairwise_distances` of each of N representations (B, ...) of one batch, shape (N, B, B)."""
    return _Distances.of(squared, *(_flatten(x) for x in layers))


def _is_subtracted(x: Tensor) -> bool:
    return x.shape[1] <= MOST_DIMENSIONS_SUBTRACTED


def _subtracted(rows: Tensor) -> Tensor:
    return torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")


def _squares(products: Tensor) -> Tensor:
    """Return ‖x_i − x_j‖², but for rounding errors below zero, from inner products (..., B, B)."""
    # norms from the same product, so that they cancel to exactly zero for equal rows
    norms = _diagonal(products)
    return torch.sub(norms[..., :, None] + norms[..., None, :], products, alpha=2.0)


class _Distances(ClosedForm):
    """Distances D of layers (B, d), or their squares; each layer in the form that its dimensions decide.

    With E = ∂/∂D, the gradient of a layer is Σ_j W_ij (x_i − x_j), where W = (E + Eᵀ) / D, zero where D is, or 2 (E + Eᵀ) for
    squares. In many dimensions it is one product, of diag(W 1) − W and the centred rows: the rows of that matrix sum to zero,
    so the mean that was subtracted has no part in it.
    """

    @staticmethod
    def plain(squared: bool, *columns: Tensor) -> Tensor:
        dtype = sums_type(columns)
        each = []
        for x in columns:
            if _is_subtracted(x):
                distances = _subtracted(x.to(dtype))
                each.append(distances.square() if squared else distances)
                continue
            squares = _squares(grams([x - x.mean(dim=0, keepdim=True, dtype=dtype)]).squeeze(0))
            positive = squares > 0
            roots = squares if squared else torch.where(positive, squares, 1.0).sqrt()
            each.append(torch.where(positive, roots, 0.0))
        return torch.stack(each)

    @staticmethod
    def forward(squared: bool, *columns: Tensor) -> tuple[Tensor, ...]:
        """Return D (N, B, B), mean − x of each layer of many dimensions, and the other layers, if converted."""
        dtype = sums_type(columns)
        few = [x for x in columns if _is_subtracted(x)]
        # it has the inner products of x − mean, and spares the gradient a change of sign
        centred = [torch.sub(x.mean(dim=0, keepdim=True, dtype=dtype), x) for x in columns if not _is_subtracted(x)]
        if centred:
            distances = _squares(inner_products(centred)).clamp_min_(0.0)
            distances = distances if squared else distances.sqrt_()
        if not few:
            return distances, *centred
        converted = as_type(few, dtype)
        subtracted = map(_subtracted, converted)
        multiplied = iter(distances) if centred else iter(())
        each = [next(subtracted) if _is_subtracted(x) else next(multiplied) for x in columns]
        each = [one.square() if squared and _is_subtracted(x) else one for one, x in zip(each, columns, strict=True)]
        kept = [new for new, old in zip(converted, few, strict=True) if new is not old]
        return torch.stack(each) if len(each) > 1 else each[0][None], *centred, *kept

    @staticmethod
    def gradients(gradient: Tensor, call: Call) -> Sequence[Tensor | None]:
        squared, *tensors = call.arguments
        distances, *rest = call.results
        kept = iter(rest)
        needed = call.needed[1:]
        both = gradient + gradient.mT
        # those of many dimensions come first
        centred = {place: next(kept) for place, x in enumerate(tensors) if not _is_subtracted(x)}
        found: list[Tensor | None] = [None] * len(tensors)
        if centred:
            # a distance of zero is replaced by infinity, so that its weight is zero
            weights = 2.0 * both if squared else both / F.threshold(distances, 0.0, torch.inf)
            _diagonal(weights).sub_(weights.sum(dim=-1))
            layers = [centred.get(place, x) for place, x in enumerate(tensors)]
            found = times_layers(weights, layers, [one and place in centred for place, one in enumerate(needed)])
        for place, x in enumerate(tensors):
            if _is_subtracted(x):
                rows = x if x.dtype == distances.dtype else next(kept)
                if needed[place]:
                    found[place] = _gradient_of_subtracted(squared, both[place], distances[place], rows)
        return [None, *_of_types(found, [x.dtype for x in tensors])]


def _of_types(gradients: Sequence[Tensor | None], dtypes: Sequence[torch.dtype]) -> list[Tensor | None]:
    """Return the gradients of representations in their types, converted by one operation for each type."""
    found = list(gradients)
    for dtype in set(dtypes):
        given = {place: one for place, one in enumerate(found) if one is not None and dtypes[place] == dtype}
        for place, one in zip(given, as_type(list(given.values()), dtype), strict=True):
            found[place] = one
    return found


def _gradient_of_subtracted(squared: bool, both: Tensor, distances: Tensor, rows: Tensor) -> Tensor:
    """Return Σ_j W_ij (x_i − x_j) from differences of coordinates, see `_Distances`."""
    if squared:
        distances = distances.sqrt()
        both = 2.0 * both * distances
    # half of what autograd computes: it takes the rows for two different arguments
    gradient: Tensor = torch.ops.aten._cdist_backward(both, rows, rows, 2.0, distances)
    return gradient


def relative(distances: Tensor) -> Tensor:
    """Return `distances` (N, B, B) of layers, each divided by the mean of its matrix; zeros where all are zero.

    That mean includes the zeros of the diagonal: times `share_of_pairs`, the result is relative to the mean over distinct
    inputs.
    """
    return _Relative.of(distances)


def share_of_pairs(size: int) -> float:
    """Return the share of pairs of distinct inputs in all B² pairs of a batch of `size` B, or 1 where there are none."""
    return max(1, size - 1) / size


class _Relative(ClosedForm):
    """R = D / m for the mean m of D, with the gradient (E − mean of E R) / m for E = ∂/∂R."""

    @staticmethod
    def plain(distances: Tensor) -> Tensor:
        return _Relative.forward(distances)[0]

    @staticmethod
    def forward(distances: Tensor) -> tuple[Tensor, Tensor]:
        mean = F.threshold(distances.mean(dim=(-2, -1), keepdim=True), 0.0, 1.0)
        return distances / mean, mean

    @staticmethod
    def gradients(gradient: Tensor, call: Call) -> Sequence[Tensor]:
        found, mean = call.results
        return [(gradient - (gradient * found).mean(dim=(-2, -1), keepdim=True)).div_(mean)]


def nearest_neighbours(weights: Tensor, k: int) -> Tensor:
    """Return a mask, true if either vertex is among the `k` most similar of the other (Section 3.3, steps 2 and 3).

    `weights` (..., B, B) are the similarities, and the mask has their shape. A vertex is not its own neighbour; with k of at
    least B − 1 all pairs are kept.

    Raises ValueError unless 1 ≤ k ≤ B.
    """
    size = weights.shape[-1]
    if not 1 <= k <= size:
        raise ValueError(f"k, the number of neighbours in a batch of {size}, must be between 1 and {size}, not {k}")
    diagonal = torch.eye(size, dtype=torch.bool, device=weights.device)
    if k >= size - 1:
        return (~diagonal).expand_as(weights)
    chosen = weights.detach().masked_fill(diagonal, -torch.inf).topk(k, dim=-1).indices
    mask = torch.zeros_like(weights, dtype=torch.bool).scatter(-1, chosen, True)
    return mask | mask.mT


def symmetric_normalization(adjacency: Tensor) -> Tensor:
    """Return D^-1/2 A D^-1/2 for adjacency matrices A (..., B, B) with degrees D (Section 3.3, step 4).

    The row and column of a vertex whose degree is not positive are zero.
    """
    return _Normalized.of(adjacency)


class _Normalized(ClosedForm):
    """M = s_i A_ij s_j with s = D^-1/2.

    With E = ∂/∂M, ∂/∂A is s_i E_ij s_j − ½ s_i² Σ_k (E_ik M_ik + E_ki M_ki).
    """

    @staticmethod
    def plain(adjacency: Tensor) -> Tensor:
        scale = _inverse_roots(adjacency.sum(dim=-1), 0.0)
        return scale[..., :, None] * adjacency * scale[..., None, :]

    @staticmethod
    def forward(adjacency: Tensor) -> tuple[Tensor, Tensor]:
        scale = _inverse_roots(adjacency.sum(dim=-1), 0.0)
        return _scaled(adjacency, scale), scale

    @staticmethod
    def gradients(gradient: Tensor, call: Call) -> Sequence[Tensor]:
        normalized, scale = call.results
        along = _both_ways(gradient, normalized).mul_(scale)
        return [_scaled(gradient, scale).addcmul_(along[..., None], scale[..., None], value=-0.5)]


@_outside_autocast
def similarities_of_layers(
    layers: Sequence[Tensor],
    *,
    similarity: Similarity = "cosine",
    rbf_scale: float | None = None,
    relative_distances: bool = False,
    loops: bool = True,
) -> Tensor:
    """Return the similarities of the rows of each of N representations (B, ...) of one batch, shape (N, B, B).

    This is step 1 of Section 3.3. Without `loops` the diagonals are zero. The other arguments and errors are those of
    `similarity_graph`.
    """
    if similarity == "cosine":
        return _Cosines.of(grams([_flatten(x) for x in layers]), loops)
    if similarity not in ("rbf", "rbf_squared"):
        raise ValueError(f"similarity must be one of {', '.join(get_args(Similarity))}, not {similarity!r}")
    scale = 2.0 if rbf_scale is None else rbf_scale
    if not scale > 0:
        raise ValueError(f"rbf_scale, the α of exp(−α·distance), must be positive, not {rbf_scale}")
    distances = distances_of_layers(layers, squared=similarity == "rbf_squared")
    if relative_distances:
        distances, scale = relative(distances), scale * share_of_pairs(distances.shape[-1])
    weights = torch.exp(-scale * distances)
    return weights if loops else _without_loops(weights)


@_outside_autocast
def graphs_of_layers(
    layers: Sequence[Tensor],
    *,
    similarity: Similarity = "cosine",
    k: int | None = None,
    normalize: bool = False,
    self_loops: bool = False,
    rbf_scale: float | None = None,
    relative_distances: bool = False,
) -> Tensor:
    """Return `similarity_graph` of each of N representations (B, ...) of one batch, shape (N, B, B)."""
    weights = similarities_of_layers(
        layers, similarity=similarity, rbf_scale=rbf_scale, relative_distances=relative_distances, loops=self_loops
    )
    edges = None if k is None else nearest_neighbours(weights, k)
    return graphs_on(edges, weights, normalize=normalize, self_loops=self_loops)


def graphs_on(edges: Tensor | None, weights: Tensor, *, normalize: bool, self_loops: bool) -> Tensor:
    """Return the adjacency matrices (..., B, B) with `weights` on `edges`, or on all if that is None.

    With `self_loops` the diagonal is kept too.
    """
    if edges is not None:
        if self_loops:
            edges = edges | torch.eye(weights.shape[-1], dtype=torch.bool, device=weights.device)
        weights = torch.where(edges, weights, 0.0)
    return symmetric_normalization(weights) if normalize else weights


@_outside_autocast
def similarity_graph(
    x: Tensor,
    *,
    similarity: Similarity = "cosine",
    k: int | None = None,
    normalize: bool = False,
    self_loops: bool = False,
    rbf_scale: float | None = None,
    relative_distances: bool = False,
) -> Tensor:
    """Return the adjacency matrix (B, B) of the latent geometry graph of the batch `x` (B, ...) (Section 3.3).

    Args:
        x: representations; each row is flattened.
        similarity: "cosine" for non-negative representations (after a ReLU); "rbf" for exp(−α‖xi − xj‖);
            "rbf_squared" for exp(−α‖xi − xj‖²). If representations have negative values, cosines can be negative, and the
            degrees that `normalize` divides by can be zero or negative: this function accepts them, the losses do not.
        k: number of nearest neighbours of each vertex, not counting itself; an edge is kept, with its weight, if either
            end is among the neighbours of the other. None keeps all edges.
        normalize: return D^-1/2 A D^-1/2, computed after the neighbours are chosen.
        self_loops: keep each vertex's similarity to itself on the diagonal, which is zero otherwise. This does not change
            the Laplacian, but it changes the degrees that `normalize` divides by.
        rbf_scale: α of the two kernels, in inverse units of distance or of squared distance; None is 2.
        relative_distances: divide the distances, or their squares, by their mean over all pairs of the batch before the
            kernel, so that α has no unit and the same value suits any layer of any network.

    Raises:
        ValueError: for an unknown similarity, a k outside 1..B, an α that is not positive, or an `x` without rows.
    """
    return graphs_of_layers(
        [x],
        similarity=similarity,
        k=k,
        normalize=normalize,
        self_loops=self_loops,
        rbf_scale=rbf_scale,
        relative_distances=relative_distances,
    ).squeeze(0)


def laplacian(adjacency: Tensor) -> Tensor:
    """Return the combinatorial Laplacian L = D − A (B, B) of an adjacency matrix (B, B) (Section 3.2)."""
    _check_square(adjacency)
    return torch.diag(adjacency.sum(dim=1)) - adjacency


@_outside_autocast
def total_variation(adjacency: Tensor, signals: Tensor) -> Tensor:
    """Return tr(Sᵀ L S), a scalar: how much the signals vary along the edges (Eq. 4).

    `signals` S has shape (B,) or (B, s). The value is the sum of A_ij ‖s_i − s_j‖² over *unordered* pairs; the paper's
    Eq. 4 writes it as a sum over i and j.
    """
    _check_square(adjacency)
    adjacency = at_least_float32(adjacency)
    columns = signals.reshape(len(signals), -1).to(adjacency.dtype)
    if len(columns) != len(adjacency):
        raise ValueError(f"signals must have one row for each of the {len(adjacency)} vertices, not {len(columns)}")
    return (columns * (laplacian(adjacency) @ columns)).sum()


@_outside_autocast
def label_variation(adjacency: Tensor, labels: Tensor, *, power: int = 1, num_classes: int | None = None) -> Tensor:
    """Return σ = tr(Vᵀ Lᵖ V), a scalar, for the one-hot label matrix V of `labels` (Section 3.2, Eq. 5).

    With `power` p = 1 this is the sum of the weights of edges between classes, each counted in both directions. It is 0
    exactly when no edge joins two classes, and does not depend on how the classes are numbered (Remark 1).

    Args:
        adjacency: weights (B, B), symmetric.
        labels: integers (B,).
        power: p, at least 1.
        num_classes: number of classes, with labels in 0..num_classes−1. Does not change the value, but saves a
            synchronisation with the device.
    """
    _check_square(adjacency)
    check_labels(labels, len(adjacency))
    _check_power(power)
    return label_variations(at_least_float32(adjacency), labels, power=power, num_classes=num_classes)


@_outside_autocast
def label_variations(graphs: Tensor, labels: Tensor, *, power: int, num_classes: int | None = None) -> Tensor:
    """Return `label_variation` of each of the adjacency matrices (..., B, B) of one batch in float32 or float64."""
    if power == 1:
        return torch.where(labels[:, None] != labels[None, :], graphs, 0.0).sum(dim=(-2, -1))
    matrices = torch.diag_embed(graphs.sum(dim=-1)) - graphs
    return _trace_of_power(lambda u: matrices @ u, one_hot(labels, num_classes).to(graphs.dtype), power)


@_outside_autocast
def cosine_label_variation(x: Tensor, labels: Tensor, *, power: int = 1, num_classes: int | None = None) -> Tensor:
    """Return the label variation of the full cosine graph of `x` (B, ...), in large batches without a (B, B) matrix.

    The value equals ``label_variation(similarity_graph(x), labels, power=power)``. With unit rows z, class sums s_c and
    their total s, σ = ‖s‖² − Σ_c ‖s_c‖², and higher powers follow from L U = diag(z·s) U − z (zᵀ U), so time and memory
    are linear in B. In small batches, where it costs less, the matrix of cosines is formed for p = 1 and 2.

    These two powers have a gradient in closed form, which can be differentiated again (``create_graph=True``,
    `torch.func`); σ is then computed a second time.
    """
    return cosine_label_variations([x], labels, power=power, num_classes=num_classes)[0]


def cosine_label_variations(
    representations: Sequence[Tensor], labels: Tensor, *, power: int = 1, num_classes: int | None = None
) -> Tensor:
    """Return `cosine_label_variation` of each of L representations (B, ...) of one batch, shape (L,).

    This is faster than one call per layer: operations on small matrices are batched over the layers.
    """
    for x in representations:
        check_labels(labels, batch_size(x))
    _check_power(power)
    with torch.autocast(labels.device.type, enabled=False):
        columns = [_flatten(x) for x in representations]
        own = one_hot(labels, num_classes)
        if power > 2:
            return _LabelVariations.plain(power, own, *columns)
        return _form_of_label_variations(columns).of(power, own, *columns)


#: the largest batch for which label variations of full cosine graphs are computed from matrices (B, B)
MOST_INPUTS_OF_A_GRAPH = {"cpu": 64, "accelerator": 512}


def _form_of_label_variations(columns: Sequence[Tensor]) -> "type[_LabelVariations]":
    """Return how label variations of layers (B, d) are computed: by matrices (B, B), or by the form that is linear in B.

    Per value of a layer, matrices take 2 B multiplications, and the other form 4 C for C classes, but thinner products, which
    are less efficient, and more operations. On a CPU both take the same time at 64 inputs (17 layers of a PreActResNet18, C =
    10; at 32 inputs matrices take two thirds of the other form's time, at 100 one and a half times it). On accelerators, where
    a small operation costs as much as a large one, the limit has not been measured: at 512 inputs the products still take
    fewer multiplications than the network.
    """
    device = "cpu" if columns[0].device.type == "cpu" else "accelerator"
    return _VariationsOfGraphs if len(columns[0]) <= MOST_INPUTS_OF_A_GRAPH[device] else _VariationsOfSums


def _cosine_trace_of_power(z: Tensor, v: Tensor, power: int) -> Tensor:
    degrees = z @ z.sum(dim=0)
    # self-similarities are part of both the degrees and z zᵀ, so they cancel
    return _trace_of_power(lambda u: degrees[:, None] * u - z @ (z.T @ u), v.to(z.dtype), power)


def _variations(between: Tensor, own: Tensor, power: int) -> tuple[Tensor, Tensor]:
    """Return σ (N,), and ∂σ/∂P divided by p (N, B, C), of N layers for p = 1 or 2.

    P are the similarities of inputs to the sums of the classes, (N, B, C). `between` is P with zeros for the `own` class
    (B, C) of an input. Only these matter: LV is −P there, and for the own class the sum of the others. So σ = ⟨V, LV⟩ is the
    sum of `between` for p = 1, and σ = ‖LV‖² for p = 2 has the derivatives 2 (P_ic + Σ_k P_ik); being quadratic, it is half
    the product of P and these.
    """
    if power == 1:
        return between.sum(dim=(1, 2)), (~own).to(between.dtype).expand_as(between)
    slopes = (between + between.sum(dim=2, keepdim=True)).masked_fill_(own, 0.0)
    return (between * slopes).sum(dim=(1, 2)), slopes


class _LabelVariations(ClosedForm):
    """tr(Vᵀ Lᵖ V) of the full cosine graphs of layers (B, d), shape (N,), for one-hot labels `own` (B, C).

    For p = 1 and 2 there are two forms with a gradient in closed form. Both compute the similarities P of inputs to class
    sums, and the gradient from Q = ∂σ/∂P (see `_variations`). Representations are saved in their own precision.
    """

    @staticmethod
    def plain(power: int, own: Tensor, *columns: Tensor) -> Tensor:
        return torch.stack([_cosine_trace_of_power(unit_rows(x), own, power) for x in columns])


class _VariationsOfGraphs(_LabelVariations):
    """The form of few operations: one product per layer for the cosines A, one for the gradient, the rest for all layers.

    P = A V. With N = Q Vᵀ + V Qᵀ and r_i = 1/‖x_i‖, ∂σ/∂x is the product of r_i N_ij r_j − diag(r_i² Σ_j N_ij A_ij) and x.
    """

    @staticmethod
    def forward(power: int, own: Tensor, *columns: Tensor) -> tuple[Tensor, ...]:
        products = inner_products(columns)
        inverse = _inverse_lengths(_diagonal(products))
        cosines = _scaled(products, inverse)
        v = own.to(cosines.dtype)
        values, slopes = _variations((cosines @ v).masked_fill_(own, 0.0), own, power)
        return values, cosines, inverse, slopes, v

    @staticmethod
    def gradients(gradient: Tensor, call: Call) -> Sequence[Tensor | None]:
        power, _, *columns = call.arguments
        _, cosines, inverse, slopes, v = call.results
        halves = (slopes * _per_layer(gradient, power)) @ v.T
        both = halves + halves.mT
        along = (both * cosines).sum(dim=2).mul_(inverse)
        factors = _scaled(both, inverse)
        # zero before, since an input's own class has no slope
        _diagonal(factors).addcmul_(along, inverse, value=-1.0)
        return [None, None, *times_layers(factors, columns, call.needed[2:])]


class _VariationsOfSums(_LabelVariations):
    """The form that is linear in B: P = z s, of unit rows z (B, d) and class sums s = Vᵀ z, without a matrix (B, B).

    ∂σ/∂z is Q s + V (Qᵀ z), from which the derivative of z = x/‖x‖ subtracts its part along z.
    """

    @staticmethod
    def forward(power: int, own: Tensor, *columns: Tensor) -> tuple[Tensor, ...]:
        dtype = sums_type(columns)
        # converted for each use: a copy of all layers would take memory until the gradient
        lengths = torch.stack([torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=dtype) for x in columns])
        inverse = _inverse_lengths(lengths.square())
        sums = _class_sums(own, columns, inverse)
        each = [product(x.to(dtype), one.T) for one, x in zip(sums, columns, strict=True)]
        values, slopes = _variations(torch.stack(each).mul_(inverse).masked_fill_(own, 0.0), own, power)
        return values, inverse, slopes, *sums

    @staticmethod
    def gradients(gradient: Tensor, call: Call) -> Sequence[Tensor | None]:
        power, own, *columns = call.arguments
        _, inverse, slopes, *sums = call.results
        slopes = slopes * inverse
        both = torch.cat([slopes, own * inverse], dim=2).mul_(_per_layer(gradient, power))
        squares = inverse.square().neg_()
        found: list[Tensor | None] = [None, None]
        for layer, x in enumerate(columns):
            if not call.needed[2 + layer]:
                found.append(None)
                continue
            # see `times_layers`
            kind = x.dtype if x.dtype == torch.bfloat16 else slopes.dtype
            rows = x.to(kind)
            weighted = product(slopes[layer].T.to(kind), rows)
            result = product(both[layer].to(kind), torch.cat([sums[layer].to(kind), weighted]))
            along = (result * rows).sum(dim=1, keepdim=True, dtype=slopes.dtype)
            found.append(result.addcmul_(rows, (along * squares[layer]).to(kind)).to(x.dtype))
        return found


def _class_sums(own: Tensor, columns: Sequence[Tensor], weights: Tensor) -> list[Tensor]:
    """Return the sums (C, d) over each class of the rows of `columns` (B, d) times `weights` (N, B, 1), without a gradient."""
    # rows by class; adding them takes less than half the time of a product with V, most of whose entries are zero
    order = own.to(torch.uint8).argmax(dim=1).argsort(stable=True)
    sizes = own.sum(dim=0)
    starts = sizes.cumsum(dim=0) - sizes
    return [
        F.embedding_bag(order, x.detach().to(weights.dtype), starts, mode="sum", per_sample_weights=w)
        for x, w in zip(columns, weights[:, order, 0], strict=True)
    ]


def _per_layer(gradient: Tensor, power: int) -> Tensor:
    """Return the factors (N, 1, 1) by which the slopes of `_variations` are multiplied, for the gradient (N,) of σ."""
    return (gradient if power == 1 else power * gradient)[:, None, None]


@_outside_autocast
def normalized_label_variation(adjacency: Tensor, labels: Tensor) -> Tensor:
    """Return σ / ΣA in [0, 1] for non-negative weights: 1 if every edge joins two classes, 0 if none does.

    Figure 2 compares graphs of different depths on this scale. It is 0 for a graph without edges.
    """
    _check_square(adjacency)
    adjacency = at_least_float32(adjacency)
    total = adjacency.sum() - adjacency.diagonal().sum()
    return label_variation(adjacency, labels) / torch.where(total > 0, total, 1.0)


def laplacian_eigenmaps(adjacency: Tensor, dimensions: int = 2) -> Tensor:
    """Return coordinates (B, dimensions) that place similar vertices near each other (Belkin and Niyogi 2003).

    They are the solutions of L y = λ D y with the smallest λ except the constant one, each scaled so that D^1/2 y has unit
    length and signed so that its entry of largest magnitude is positive. Vertices without edges are at the origin, and
    dimensions for which there is no further solution are zero.

    Raises ValueError unless 1 ≤ dimensions < B.
    """
    _check_square(adjacency)
    size = len(adjacency)
    if not 1 <= dimensions < size:
        raise ValueError(
            f"dimensions must be between 1 and {size - 1} for a graph of {size} vertices, not {dimensions}"
        )
    weights = adjacency.detach().to("cpu", torch.float64).clone()
    weights.fill_diagonal_(0.0)
    degrees = weights.sum(dim=1)
    connected = degrees > 0
    inverse_root = torch.where(connected, torch.where(connected, degrees, 1.0).rsqrt(), 0.0)
    matrix = torch.eye(size, dtype=torch.float64) - symmetric_normalization(weights)
    # Eigenvalues are in [0, 2]. Shifting the constant solution above them excludes it reliably, even if the graph is
    # disconnected and zero is a repeated eigenvalue.
    constant = degrees.clamp_min(0.0).sqrt()
    constant = constant / constant.norm().clamp_min(torch.finfo(torch.float64).tiny)
    # Vertices without edges are shifted too: each would be a solution of its own.
    lifted = matrix + 5.0 * torch.outer(constant, constant) + 3.0 * torch.diag((~connected).double())
    _, vectors = torch.linalg.eigh(lifted)
    coordinates: Tensor = inverse_root[:, None] * vectors[:, :dimensions]
    largest = coordinates.gather(0, coordinates.abs().argmax(dim=0, keepdim=True))
    coordinates = coordinates * torch.where(largest < 0, -1.0, 1.0)
    return coordinates.to(adjacency.device, adjacency.dtype)


def one_hot(labels: Tensor, num_classes: int | None = None) -> Tensor:
    """Return the boolean label matrix V (B, C); C is `num_classes`, or the number of distinct labels if that is None."""
    classes = torch.unique(labels) if num_classes is None else torch.arange(num_classes, device=labels.device)
    return labels[:, None] == classes[None, :]


def _trace_of_power(apply_laplacian: Callable[[Tensor], Tensor], v: Tensor, power: int) -> Tensor:
    """Return tr(Vᵀ Lᵖ V) from products of L with thin matrices; L is symmetric, so Lᵖ is split into two halves."""
    for _ in range(power // 2):
        v = apply_laplacian(v)
    product_of_halves = v * apply_laplacian(v) if power % 2 else v.square()
    return product_of_halves.sum(dim=(-2, -1))


def _check_square(adjacency: Tensor) -> None:
    if adjacency.dim() != 2 or adjacency.shape[0] != adjacency.shape[1]:
        raise ValueError(f"an adjacency matrix must have shape (B, B), not {tuple(adjacency.shape)}")


def check_labels(labels: Tensor, size: int) -> None:
    """Raise ValueError unless `labels` are integers of shape (`size`,)."""
    if labels.shape != (size,) or labels.is_floating_point() or labels.is_complex():
        raise ValueError(
            f"labels must be one integer for each of the {size} inputs, shape ({size},), "
            f"not {tuple(labels.shape)} of {labels.dtype}"
        )


def _check_power(power: int) -> None:
    if isinstance(power, bool) or not isinstance(power, int) or power < 1:
        raise ValueError(f"power, the p of tr(Vᵀ Lᵖ V), must be a positive integer, not {power!r}")
