"""Latent geometry graphs: construction, Laplacian and smoothness of labels (Section 3 of the paper).

All functions take and return torch tensors on any device. Similarities and distances are computed in at least float32,
even inside an autocast region.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar, get_args

import torch
from torch import Tensor

from lgg.products import gram, is_wrapped, product

Similarity = Literal["cosine", "rbf", "rbf_squared"]

# up to this many dimensions, subtracting costs no more than a matrix product
MOST_DIMENSIONS_SUBTRACTED = 512

P = ParamSpec("P")
R = TypeVar("R")


def _outside_autocast(function: Callable[P, R]) -> Callable[P, R]:
    """Disable autocast inside `function`, where it would compute matrix products in half precision."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        tensors = (value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
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
    if x.dim() == 4 and not is_wrapped(x) and x.is_contiguous(memory_format=torch.channels_last):
        x = x.permute(0, 2, 3, 1)
    return x.flatten(1)


def unit_rows(x: Tensor) -> Tensor:
    """Return the rows of `x` (B, ...), flattened and scaled to unit length, shape (B, d).

    A row of zeros has no direction: it stays zero, has similarity zero to all others and receives no gradient.
    """
    rows = flatten_rows(x)
    return rows * _inverse(torch.linalg.vector_norm(rows, dim=1, keepdim=True))


def _cosines(x: Tensor) -> Tensor:
    """Return the cosines of the angles between the rows of `x` (B, ...), shape (B, B); zero for a row of zeros."""
    # scaling the few products costs less than scaling the rows
    products = gram(flatten_rows(x))
    squares = products.diagonal()
    present = squares > torch.finfo(squares.dtype).tiny
    inverse = torch.where(present, torch.where(present, squares, 1.0).rsqrt(), 0.0)
    return inverse[:, None] * products * inverse[None, :]


def _inverse(norms: Tensor) -> Tensor:
    """Return the reciprocals of `norms`, zero for norms that are practically zero."""
    # below this, the squared norm that the gradient divides by would underflow
    present = norms > torch.finfo(norms.dtype).tiny ** 0.5
    return torch.where(present, 1.0 / torch.where(present, norms, 1.0), 0.0)


@_outside_autocast
def pairwise_distances(x: Tensor, *, squared: bool = False) -> Tensor:
    """Return the Euclidean distances between the rows of `x` (B, ...), shape (B, B), zero on the diagonal.

    In few dimensions coordinates are subtracted, so small distances keep full precision even if the batch has a large
    spread. In many dimensions a matrix product is used, whose rounding error is relative to that spread; the rows are
    centred first, which leaves distances unchanged and reduces the error. The gradient of the distance between two equal
    rows is zero.
    """
    rows = flatten_rows(x)
    if rows.shape[1] <= MOST_DIMENSIONS_SUBTRACTED:
        distances = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
        return distances.square() if squared else distances
    rows = rows - rows.mean(dim=0, keepdim=True)
    products = gram(rows)
    # norms from the same product, so that they cancel to exactly zero for equal rows
    norms = products.diagonal()
    squares = norms[:, None] + norms[None, :] - 2.0 * products
    positive = squares > 0
    squares = torch.where(positive, squares, 0.0)
    return squares if squared else torch.where(positive, torch.where(positive, squares, 1.0).sqrt(), 0.0)


def nearest_neighbours(weights: Tensor, k: int) -> Tensor:
    """Return a mask (B, B), true if either vertex is among the `k` most similar of the other (Section 3.3, steps 2 and 3).

    `weights` (B, B) are the similarities. A vertex is not its own neighbour; with k of at least B − 1 all pairs are kept.
    Raises ValueError unless 1 ≤ k ≤ B.
    """
    size = weights.shape[0]
    if not 1 <= k <= size:
        raise ValueError(f"k, the number of neighbours in a batch of {size}, must be between 1 and {size}, not {k}")
    diagonal = torch.eye(size, dtype=torch.bool, device=weights.device)
    if k >= size - 1:
        return ~diagonal
    chosen = weights.detach().masked_fill(diagonal, -torch.inf).topk(k, dim=1).indices
    mask = torch.zeros_like(diagonal).scatter(1, chosen, True)
    return mask | mask.T


def symmetric_normalization(adjacency: Tensor) -> Tensor:
    """Return D^-1/2 A D^-1/2 for an adjacency matrix A (B, B) with degrees D (Section 3.3, step 4).

    The row and column of a vertex whose degree is not positive are zero.
    """
    degrees = adjacency.sum(dim=1)
    connected = degrees > 0
    scale = torch.where(connected, torch.where(connected, degrees, 1.0).rsqrt(), 0.0)
    return scale[:, None] * adjacency * scale[None, :]


@_outside_autocast
def similarities(
    x: Tensor,
    *,
    similarity: Similarity = "cosine",
    rbf_scale: float | None = None,
    relative_distances: bool = False,
) -> Tensor:
    """Return the similarities of the rows of `x` (B, ...), shape (B, B), including the diagonal (Section 3.3, step 1).

    Arguments and errors are those of `similarity_graph`.
    """
    if similarity == "cosine":
        return _cosines(x)
    if similarity not in ("rbf", "rbf_squared"):
        raise ValueError(f"similarity must be one of {', '.join(get_args(Similarity))}, not {similarity!r}")
    scale = 2.0 if rbf_scale is None else rbf_scale
    if not scale > 0:
        raise ValueError(f"rbf_scale, the α of exp(−α·distance), must be positive, not {rbf_scale}")
    distances = pairwise_distances(x, squared=similarity == "rbf_squared")
    if relative_distances:
        mean = distances.sum() / max(1, len(distances) * (len(distances) - 1))
        distances = distances / torch.where(mean > 0, mean, 1.0)
    return torch.exp(-scale * distances)


def neighbours(weights: Tensor, k: int | None) -> Tensor:
    """Return the mask (B, B) of a graph's edges: those of `nearest_neighbours`, or all but self-loops if `k` is None."""
    if k is not None:
        return nearest_neighbours(weights, k)
    return ~torch.eye(len(weights), dtype=torch.bool, device=weights.device)


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
    weights = similarities(x, similarity=similarity, rbf_scale=rbf_scale, relative_distances=relative_distances)
    return graph_of(weights, neighbours(weights, k), normalize=normalize, self_loops=self_loops)


def graph_of(weights: Tensor, edges: Tensor, *, normalize: bool = False, self_loops: bool = False) -> Tensor:
    """Return the adjacency matrix (B, B) with `weights` on `edges`; the other arguments are those of `similarity_graph`."""
    if self_loops:
        edges = edges | torch.eye(len(weights), dtype=torch.bool, device=weights.device)
    adjacency = torch.where(edges, weights, 0.0)
    return symmetric_normalization(adjacency) if normalize else adjacency


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
    adjacency = at_least_float32(adjacency)
    if power == 1:
        return torch.where(labels[:, None] != labels[None, :], adjacency, 0.0).sum()
    matrix = laplacian(adjacency)
    return _trace_of_power(lambda u: matrix @ u, one_hot(labels, num_classes).to(adjacency.dtype), power)


@_outside_autocast
def cosine_label_variation(x: Tensor, labels: Tensor, *, power: int = 1, num_classes: int | None = None) -> Tensor:
    """Return the label variation of the full cosine graph of `x` (B, ...) without forming any (B, B) matrix.

    The value equals ``label_variation(similarity_graph(x), labels, power=power)``. With unit rows z, class sums s_c and
    their total s, σ = ‖s‖² − Σ_c ‖s_c‖², and higher powers follow from L U = diag(z·s) U − z (zᵀ U), so time and memory
    are linear in B. Powers 1 and 2 have a closed-form gradient, which can be differentiated again (``create_graph=True``,
    `torch.func`); the parts of σ are then computed a second time.
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
        dtype = max((at_least_float32(x).dtype for x in columns), key=lambda kind: kind.itemsize)
        v = one_hot(labels, num_classes).to(dtype)
        if power <= 2:
            values: Tensor = _CosineLabelVariations.apply(v, power, *columns)[0]
            return values
        return torch.stack([_cosine_trace_of_power(unit_rows(x), v, power) for x in columns])


def _cosine_trace_of_power(z: Tensor, v: Tensor, power: int) -> Tensor:
    degrees = z @ z.sum(dim=0)
    # self-similarities are part of both the degrees and z zᵀ, so they cancel
    return _trace_of_power(lambda u: degrees[:, None] * u - z @ (z.T @ u), v.to(z.dtype), power)


class _CosineLabelVariations(torch.autograd.Function):
    """tr(Vᵀ Lᵖ V) of the full cosine graphs of several layers for p = 1, 2, in few passes over the representations.

    With P = z s (B, C), the products of unit rows z_i and class sums s_c = Σ_{j∈c} z_j, the matrix LV has rows
    (Σ_c P_ic) V_i − P_i. σ = ⟨V, LV⟩ for p = 1 and ‖LV‖² for p = 2. With Q = ∂σ/∂P, ∂σ/∂z = Q sᵀ + V (Qᵀ z).

    Matrices (B, C) of all layers are stored in one tensor (L, B, C). Representations are saved in their own precision: the
    gradient of a bfloat16 representation is computed by bfloat16 products accumulated in float32.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(v: Tensor, power: int, *columns: Tensor) -> tuple[Tensor, ...]:
        """Return σ (L,) for the one-hot label matrix v (B, C) and representations x (B, d) of any precision.

        It is followed by the parts of σ that the gradient needs (see `_parts`).
        """
        inverse_norms, between, lv, *sums = _parts(v, columns, product)
        values = between.sum(dim=(1, 2)) if power == 1 else lv.square().sum(dim=(1, 2))
        return values, inverse_norms, between, lv, *sums

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        v, ctx.power, *columns = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(v, *output[1:], *columns)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        """Return ∂σ/∂x times `gradient` (L,) for each layer."""
        v, inverse_norms, between, lv, *saved = ctx.saved_tensors
        sums, columns = saved[: len(saved) // 2], saved[len(saved) // 2 :]
        if gradient is None:
            return (None,) * (2 + len(columns))
        multiply: Callable[[Tensor, Tensor], Tensor] = product
        add: Callable[[Tensor, Tensor, Tensor], Tensor] = Tensor.addcmul_
        if torch.is_grad_enabled():
            # the gradient will be differentiated again, so it is computed from tensors that depend on x
            multiply, add = torch.matmul, torch.addcmul
            inverse_norms, between, lv, *sums = _parts(v, columns, multiply)
        others = 1.0 - v
        q = others.expand_as(lv) if ctx.power == 1 else 2.0 * others * ((lv * v).sum(dim=2, keepdim=True) - lv)
        # half of z·∂σ/∂z, which the derivative of z = x/‖x‖ subtracts along z; the other half is added below
        along = (q * between).sum(dim=2, keepdim=True)
        scale = gradient[:, None, None] * inverse_norms
        both = torch.cat([q, v.expand_as(q)], dim=2) * scale
        q = q * inverse_norms
        results = []
        for layer, x in enumerate(columns):
            # bfloat16 has float32's range, and rounding the summands loses no more digits than rounding their sum
            kind = x.dtype if x.dtype == torch.bfloat16 else v.dtype
            rows = x.to(kind)
            weighted = multiply(q[layer].T.to(kind), rows)
            other_half = (v * multiply(rows, weighted.T)).sum(dim=1, keepdim=True) * inverse_norms[layer]
            factor = (along[layer] + other_half) * -inverse_norms[layer] * scale[layer]
            result = multiply(both[layer].to(kind), torch.cat([sums[layer].to(kind), weighted]))
            results.append(add(result, rows, factor.to(kind)).to(x.dtype))
        return None, None, *results


def _parts(v: Tensor, columns: Sequence[Tensor], multiply: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, ...]:
    """Return the parts of σ and of its gradient, for L representations x (B, d) and the one-hot label matrix v (B, C).

    They are 1/‖x_i‖ (L, B, 1); the similarities of inputs to the sums of other classes (L, B, C), which is P with zeros for
    an input's own class; LV (L, B, C); and the class sums (C, d) of each layer. `multiply` is the matrix product.
    """
    norms, sums, products = [], [], []
    for x in columns:
        rows = x.to(v.dtype)
        norms.append(torch.linalg.vector_norm(rows, dim=1, keepdim=True))
        sums.append(multiply((v * _inverse(norms[-1])).T, rows))
        products.append(multiply(rows, sums[-1].T))
    inverse_norms = _inverse(torch.stack(norms))
    between = torch.stack(products) * inverse_norms
    within = between * v
    between = between - within  # exact: an entry minus itself, or minus zero
    lv = between.sum(dim=2, keepdim=True) * v - between
    return inverse_norms, between, lv, *sums


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
    return (v * apply_laplacian(v)).sum() if power % 2 else v.square().sum()


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
