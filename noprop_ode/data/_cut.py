"""Splits validation and test parts off a training part, by class and the same every time."""

import dataclasses

from ._dataset import Dataset
from ._errors import DatasetError
from ._random import permutation, stratified_cut


# Separate random streams: no user's seed yields the shuffle that made the fixed test parts.
_VALIDATION_STREAM, _TEST_STREAM = 2, 3


def cut_validation(train: Dataset, share: int | float, seed: int) -> tuple[Dataset, Dataset | None]:
    """Split a validation part off a training part.

    **Arguments:**

    - `train`: the part to split.
    - `share`: a fraction of it in [0, 1), or a number of images; 0 for none. As `check_cut` accepts it.
    - `seed`: chooses the images.

    **Returns:**

    The rest, and the validation part; `None` for a share of 0.

    **Raises:**

    `DatasetError` for a share that leaves a part empty.
    """
    return (train, None) if share == 0 else _cut(train, "validation", share, _VALIDATION_STREAM, seed)


def cut_test(train: Dataset, share: int | float) -> tuple[Dataset, Dataset]:
    """Split a test part off a training part, the same for every seed.

    **Arguments:**

    - `train`: the part to split.
    - `share`: a fraction of it in (0, 1), or a number of images.

    **Returns:**

    The rest, and the test part.

    **Raises:**

    `DatasetError` for an invalid share, or one that leaves a part empty.
    """
    check_cut("test", share, 0)
    return _cut(train, "test", share, _TEST_STREAM, 0)


def check_cut(part: str, share: int | float, seed: int) -> None:
    """Refuse an invalid share or seed, before anything is read.

    **Arguments:**

    - `part`: the name of the part in messages.
    - `share`: a fraction or a number of images.
    - `seed`: the seed of the split.

    **Raises:**

    `DatasetError`.
    """
    fraction_ok = isinstance(share, int) or share < 1
    if isinstance(share, bool) or not share >= 0 or not fraction_ok:
        raise DatasetError(
            f"expected {part} as a fraction in [0, 1) or a number of images, got {share!r}; "
            "0.1 takes a tenth, 5000 takes 5000 images, 0 takes none"
        )
    if seed < 0:
        raise DatasetError(f"expected a seed of at least 0, got {seed}")


def _cut(whole: Dataset, part: str, share: int | float, stream: int, seed: int) -> tuple[Dataset, Dataset]:
    count = share if isinstance(share, int) else round(share * len(whole))
    if not 1 <= count < len(whole):
        raise DatasetError(
            f"expected to cut between 1 and {len(whole) - 1} {part} images off {whole.name}, got {count}; "
            f"change {part}=...{', or pass validation=0 for no validation part' if part == 'validation' else ''}"
        )
    order = permutation(len(whole), (stream, seed, len(whole)))
    chosen, rest = stratified_cut(whole.labels, count, order)
    name = whole.name.removesuffix("train") + part
    return whole.take(rest), dataclasses.replace(whole.take(chosen), name=name)
