"""Shuffles and stratified cuts that stay the same from one NumPy release to the next."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int32


def permutation(n: int, entropy: Sequence[int]) -> Int[np.ndarray, " n"]:
    """Permute `range(n)` by sorting raw random words.

    NumPy promises the stream of `PCG64` and not that of `Generator.permutation`, so a split or an
    epoch made this way can be made again years later. Ties (probability n^2 / 2^65) break by index.

    **Arguments:**

    - `n`: number of items.
    - `entropy`: non-negative integers; the result depends on these and `n` alone.

    **Returns:**

    The permuted indices.
    """
    words = np.random.PCG64(np.random.SeedSequence(list(entropy))).random_raw(n)
    return np.argsort(words, kind="stable")


def stratified_cut(
    labels: Int32[np.ndarray, " n"], count: int, order: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " count"], Int[np.ndarray, " rest"]]:
    """Cut `count` items off so that every class keeps its share.

    Class c gives floor(n_c count / n) items, and what is left over goes one each to the classes with
    the largest remainders (Hamilton's method), the lower class first.

    **Arguments:**

    - `labels`: the class of each item.
    - `count`: how many items to cut off, at most n.
    - `order`: a permutation; within a class the items that come first in it are cut off.

    **Returns:**

    Indices cut off and indices left, each in ascending order.
    """
    n = len(labels)
    sizes = np.bincount(labels).astype(np.int64)
    quota, remainder = np.divmod(sizes * count, n)
    quota[np.argsort(-remainder, kind="stable")[: count - quota.sum()]] += 1
    by_class = order[np.argsort(labels[order], kind="stable")]
    rank = np.arange(n) - (np.cumsum(sizes) - sizes)[labels[by_class]]
    cut = rank < quota[labels[by_class]]
    return np.sort(by_class[cut]), np.sort(by_class[~cut])
