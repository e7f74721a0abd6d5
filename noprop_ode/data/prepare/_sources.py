"""The data sets that `prepare` knows: where their official archives are and what is in them.

Addresses, sizes and SHA-256 sums are those of tensorflow_datasets 4.9.10, `url_checksums/mnist.txt`,
`fashion_mnist.txt`, `cifar10.txt` and `cifar100.txt`; versions and class names those of its
`image_classification/mnist.py` and `cifar.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ._archives import CifarLayout, Contents, read_cifar, read_idx


@dataclass(frozen=True)
class Archive:
    """One published file.

    **Arguments:**

    - `url`: its published address.
    - `size`: its length in bytes.
    - `sha256`: its checksum, in hexadecimal.
    - `unpacked`: name of the file or folder that unpacking it creates.
    """

    url: str
    size: int
    sha256: str
    unpacked: str

    @property
    def file_name(self) -> str:
        """The last part of the address."""
        return self.url.rsplit("/", 1)[1]


@dataclass(frozen=True)
class Source:
    """One data set as published.

    **Arguments:**

    - `version`: the TFDS version that it becomes.
    - `archives`: its files.
    - `counts`: number of images published in each split.
    - `read`: takes the path of each archive by file name, and returns their contents.
    """

    version: str
    archives: tuple[Archive, ...]
    counts: Mapping[str, int]
    read: Callable[[Mapping[str, Path]], Contents]


def _idx(root: str, names: tuple[str, ...], sums: tuple[tuple[str, int, str], ...]) -> Source:
    archives = tuple(Archive(f"{root}{stem}.gz", size, sha256, stem) for stem, size, sha256 in sums)
    counts = {"train": 60000, "test": 10000}
    return Source("3.0.1", archives, counts, lambda paths: read_idx(paths, names, counts))


def _cifar(archive: Archive, layout: CifarLayout) -> Source:
    return Source("3.0.2", (archive,), layout.counts, lambda paths: read_cifar(paths[archive.file_name], layout))


SOURCES: Mapping[str, Source] = {
    "mnist": _idx(
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        tuple(str(i) for i in range(10)),
        (
            (
                "train-images-idx3-ubyte",
                9912422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            (
                "train-labels-idx1-ubyte",
                28881,
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            (
                "t10k-images-idx3-ubyte",
                1648877,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            (
                "t10k-labels-idx1-ubyte",
                4542,
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        ),
    ),
    "fashion_mnist": _idx(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        (
            (
                "train-images-idx3-ubyte",
                26421880,
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ),
            (
                "train-labels-idx1-ubyte",
                29515,
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            ),
            (
                "t10k-images-idx3-ubyte",
                4422102,
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            ),
            (
                "t10k-labels-idx1-ubyte",
                5148,
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        ),
    ),
    "cifar10": _cifar(
        Archive(
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            170052171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            "cifar-10-batches-bin",
        ),
        CifarLayout(
            label_files={"label": ("batches.meta.txt", 10)},
            label_bytes=("label",),
            splits={
                "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
                "test": ("test_batch.bin",),
            },
            counts={"train": 50000, "test": 10000},
        ),
    ),
    "cifar100": _cifar(
        Archive(
            "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            168513733,
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
            "cifar-100-binary",
        ),
        CifarLayout(
            label_files={
                "label": ("fine_label_names.txt", 100),
                "coarse_label": ("coarse_label_names.txt", 20),
            },
            label_bytes=("coarse_label", "label"),
            splits={"train": ("train.bin",), "test": ("test.bin",)},
            counts={"train": 50000, "test": 10000},
        ),
    ),
}
