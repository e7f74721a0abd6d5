"""Folders as TFDS prepares them, of images made up."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from noprop_ode.data.prepare._archives import Contents
from noprop_ode.data.prepare._write import write_folder


def arrays(n, shape=(6, 5, 3), classes=4, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, *shape), dtype=np.uint8)
    return images, (np.arange(n) % classes).astype(np.uint8)


class Source(list):
    """Records in memory, as TFDS gives them."""

    def __getitems__(self, keys):
        return [self[k] for k in keys]


def png(picture, **how):
    """The bytes of a file that holds an array, or a picture of Pillow's."""
    picture = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    buffer = io.BytesIO()
    picture.save(buffer, "PNG" if picture.mode != "CMYK" else "TIFF", **how)
    return buffer.getvalue()


def make_folder(data_dir, name="toys", version="1.2.3", classes=("ant", "bee", "cat", "dog"), unlabelled=(), **counts):
    """Write a TFDS folder for a data set that TFDS has no class for; splits may be `unlabelled`, all -1."""
    parts = {split: arrays(n, classes=len(classes), seed=n) for split, n in counts.items()}
    parts |= {split: (parts[split][0], np.full(counts[split], -1)) for split in unlabelled}
    contents = Contents(
        {"label": classes},
        {split: images for split, (images, _) in parts.items()},
        {split: {"label": labels} for split, (_, labels) in parts.items()},
        has_ids=False,
    )
    folder = Path(data_dir) / name / version
    folder.parent.mkdir(parents=True, exist_ok=True)
    write_folder(name.split("/")[0], contents, folder)
    return parts, folder


def rows(dataset):
    return {image.tobytes() for image in dataset.images}
