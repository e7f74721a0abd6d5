"""Shuffles and stratified splits that are the same in every NumPy release."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int32


def permutation(n: int, entropy: Sequence[int]) -> Int[np.ndarray, " n"]:
    """Permute `range(n)` by sorting raw random words.

    NumPy guarantees the stream of `PCG64` but not that of `Generator.permutation`, so a split or an epoch made this way
    can be reproduced years later. Ties (probability n^2 / 2^65) are broken by index.

    **Arguments:**

    - `n`: number of items.
    - `entropy`: non-negative integers; the result depends only on these and `n`.

    **Returns:**

    The permuted indices.
    """
    words = np.random.PCG64(np.random.SeedSequence(list(entropy))).random_raw(n)
    return np.argsort(words, kind="stable")


def stratified_cut(
    labels: Int32[np.ndarray, " n"], count: int, order: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " count"], Int[np.ndarray, " rest"]]:
    """Split off `count` items so that every class keeps its share.

    Class c gives floor(n_c count / n) items, and the classes with the largest remainders give one more each until
    `count` is reached (Hamilton's method). Among equal remainders, classes that give none yet come first, in the order
    of their first items, and then the others, the lower class first. No class gives its last item while another has
    two left.

    **Arguments:**

    - `labels`: the class of each item.
    - `count`: the number of items to split off, at most n.
    - `order`: a permutation; within a class, the items that come first in it are split off.

    **Returns:**

    The indices split off and the remaining indices, each in ascending order.
    """
    n = len(labels)
    sizes = np.bincount(labels).astype(np.int64)
    ranked = np.argsort(labels[order], kind="stable")
    by_class, starts = order[ranked], np.cumsum(sizes) - sizes
    # An empty class at the end starts at n; it gives nothing, whatever is taken for its first item.
    quota = _quotas(sizes, count, ranked[np.minimum(starts, n - 1)])
    cut = np.arange(n) - starts[labels[by_class]] < quota[labels[by_class]]
    return np.sort(by_class[cut]), np.sort(by_class[~cut])


def _quotas(sizes: Int[np.ndarray, " c"], count: int, first: Int[np.ndarray, " c"]) -> Int[np.ndarray, " c"]:
    """How many items each class gives, by its size and the position of its first item."""
    quota, remainder = np.divmod(sizes * count, sizes.sum())
    none = quota == 0
    # If the lower class came first, small classes would be chosen by their names alone, the same for every seed.
    classes = np.lexsort((np.where(none, first, np.arange(len(sizes))), ~none, -remainder))
    left = count - int(quota.sum())
    for most in (sizes - 1, sizes):
        while left:
            able = classes[quota[classes] < most[classes]][:left]
            if not len(able):
                break
            quota[able] += 1
            left -= len(able)
    return quota
