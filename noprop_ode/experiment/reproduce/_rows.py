"""The rows of the paper's table, and their configurations."""

from typing import NamedTuple

from .._errors import ConfigError
from .._recipes import config_names


SETS = {"mnist": "MNIST", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
SETTINGS = ("paper", "ours", "fast")
# Embeddings as flags of the command line; the configurations have one-hot.
_EMBEDDINGS = {
    "one-hot": [],
    "dim-20": ["--model.embedding", "learned", "--model.embedding.dim", "20"],
    "prototype": ["--model.embedding", "prototype"],
}


class Row(NamedTuple):
    """A row of the table: data set by its TFDS name, variant and label embedding."""

    data: str
    variant: str
    embedding: str

    def arguments(self, settings: str) -> list[str]:
        """The arguments for `noprop-ode train`.

        **Arguments:** `settings`: `paper` for those of the paper, `ours` for our own recipes, `fast` for the recipes of
        the network made for speed.

        **Raises:** `ConfigError` if no configuration has these settings.
        """
        prefix, middle = ("paper/" if settings == "paper" else "", "_fast" if settings == "fast" else "")
        name = f"{prefix}{self.data}{middle}_{self.variant}"
        if name not in config_names():
            raise ConfigError(f"No configuration {name} goes with the row {'/'.join(self)} and --settings {settings}.")
        return [name, *_EMBEDDINGS[self.embedding]]


# Test accuracy in per cent, the mean of 3 seeds with 5 draws each: Li, Teh and Pascanu, arXiv 2503.24322, table 1.
_TABLE = {
    "backprop": ((99.46, 99.43, 99.44), (79.92, 79.30, 79.58), (45.85, 46.57, 47.80)),
    "dt": ((99.47, 99.49, 99.54), (79.25, 79.12, 80.54), (45.93, 45.19, 46.06)),
    "adjoint": ((98.62,), (66.78,), (25.03,)),
    "ct": ((97.84, 97.70, 97.17), (73.35, 71.77, 66.54), (33.66, 33.99, 21.31)),
    "fm": ((99.21, 99.29, 98.52), (73.14, 73.50, 75.18), (6.38, 31.14, 37.57)),
}
PAPER = {
    Row(data, variant, embedding): figure
    for variant, columns in _TABLE.items()
    for data, figures in zip(SETS, columns)
    for embedding, figure in zip(_EMBEDDINGS, figures)
}
SUPERVISED = [Row(data, "supervised", "one-hot") for data in SETS]


def rows_of(patterns: list[str], settings: str) -> list[Row]:
    """The rows that exist for some settings and match any of the patterns, such as `mnist/ct/one-hot`, `cifar10/*/*` or
    `*/dt/*`; all of them without a pattern.

    **Raises:** `ConfigError` for a pattern that no row matches.
    """
    known = [row for row in (*PAPER, *SUPERVISED) if _exists(row, settings)]
    if not patterns:
        return known
    for pattern in patterns:
        if not any(_matches(row, pattern) for row in known):
            names = ", ".join(dict.fromkeys("/".join(row) for row in known))
            raise ConfigError(f"--rows: {pattern!r} goes with no row of --settings {settings}. There are: {names}.")
    return [row for row in known if any(_matches(row, pattern) for pattern in patterns)]


def _exists(row: Row, settings: str) -> bool:
    try:
        row.arguments(settings)
    except ConfigError:
        return False
    return True


def _matches(row: Row, pattern: str) -> bool:
    parts = pattern.split("/")
    return len(parts) == 3 and all(part in ("*", own) for part, own in zip(parts, row))
