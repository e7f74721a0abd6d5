"""Shape aliases shared by the whole package. Every module takes one example; the caller maps over the batch."""

import os
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Array, ArrayLike, Float, Integer, PRNGKeyArray, PyTree, Shaped


Key: TypeAlias = PRNGKeyArray
Scalar: TypeAlias = Float[Array, ""]
Label: TypeAlias = Integer[ArrayLike, ""]
Image: TypeAlias = Shaped[Array | np.ndarray, "*image"]  # HWC: uint8 in [0, 255] or floating point in [0, 1]
Images: TypeAlias = Shaped[Array | np.ndarray, "batch *image"]
Labels: TypeAlias = Integer[Array | np.ndarray, " batch"]
Latent: TypeAlias = Float[Array, " dim"]
Logits: TypeAlias = Float[Array, " classes"]
LogProbs: TypeAlias = Float[Array, " classes"]
Features: TypeAlias = PyTree[Any]
AnyPath: TypeAlias = str | os.PathLike[str]
