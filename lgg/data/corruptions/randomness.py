"""Random numbers that depend on an image's position, not on its batch."""

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Streams:
    """One random stream for each image of a batch, distinguished by the counter of Philox (Salmon et al. 2011).

    The key is derived from `seed`, `name` and `severity`; the counter starts at (0, 0, n, position) for the n-th draw of an
    image, so a stream depends only on these. Setting the counter takes about 2 µs per image.

    Raises ValueError for a negative position.
    """

    def __init__(self, seed: int, name: str, severity: int, positions: NDArray[np.int64]) -> None:
        if len(positions) and positions.min() < 0:
            raise ValueError(f"positions must be at least 0, not {positions.min()}")
        digest = hashlib.sha256(f"{seed}/{name}/{severity}".encode()).digest()
        self._key = np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)
        self._positions = positions
        self._draws = 0

    def __len__(self) -> int:
        return len(self._positions)

    def normal(self, *shape: int) -> NDArray[np.float32]:
        """Return standard normal numbers (N, *shape)."""
        numbers = np.empty((len(self), math.prod(shape)), dtype=np.float32)
        for generator, row in zip(self._generators(), numbers, strict=True):
            generator.standard_normal(dtype=np.float32, out=row)
        return numbers.reshape(len(self), *shape)

    def uniform(self, *shape: int) -> NDArray[np.float32]:
        """Return numbers (N, *shape) uniform in [0, 1)."""
        numbers = np.empty((len(self), math.prod(shape)), dtype=np.float32)
        for generator, row in zip(self._generators(), numbers, strict=True):
            generator.random(dtype=np.float32, out=row)
        return numbers.reshape(len(self), *shape)

    def integers(self, end: int, *shape: int) -> NDArray[np.int64]:
        """Return integers (N, *shape) uniform from 0 to `end` − 1."""
        numbers = np.empty((len(self), *shape), dtype=np.int64)
        kind = np.min_scalar_type(end - 1).type  # one random word gives several small numbers
        for index, generator in enumerate(self._generators()):
            numbers[index] = generator.integers(0, end, shape, dtype=kind)
        return numbers

    def poisson(self, means: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return Poisson counts (N, …) with the given means (N, …)."""
        counts = np.empty(means.shape, dtype=np.float32)
        for index, generator in enumerate(self._generators()):
            counts[index] = generator.poisson(means[index])
        return counts

    def _generators(self) -> Iterator[np.random.Generator]:
        """Yield the same generator for each image, set to that image's stream."""
        bits = np.random.Philox(0)
        generator = np.random.Generator(bits)
        state: Any = dict(bits.state)
        counter = np.array([0, 0, self._draws, 0], dtype=np.uint64)
        state["state"] = {"counter": counter, "key": self._key}
        self._draws += 1
        for position in self._positions:
            counter[3] = position
            bits.state = state
            yield generator
