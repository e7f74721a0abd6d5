"""Archives like the published ones, of images made up."""

import gzip
import io
import struct
import tarfile

import numpy as np


def idx_bytes(array):
    return struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


def write_idx(folder, counts=(40, 20), seed=0, pack=True):
    folder.mkdir(parents=True, exist_ok=True)
    rng, made = np.random.default_rng(seed), {}
    for stem, n in zip(("train", "t10k"), counts):
        images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = (np.arange(n) % 10).astype(np.uint8)
        made[stem] = images, labels
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            put_idx(folder, f"{stem}-{kind}-ubyte", idx_bytes(array), pack)
    return made


def put_idx(folder, stem, content, pack=True):
    path = folder / (f"{stem}.gz" if pack else stem)
    path.write_bytes(gzip.compress(content, 1) if pack else content)


def cifar_members(classes=10, n=20, seed=0):
    """Members of a small CIFAR archive, and the arrays in it by split."""
    rng, members, made = np.random.default_rng(seed), {}, {}
    files = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
    if classes == 100:
        files = {"train": ["train.bin"], "test": ["test.bin"]}
        n = 100
    for split, names in files.items():
        images = rng.integers(0, 256, (len(names), n, 32, 32, 3), dtype=np.uint8)
        labels = np.tile((np.arange(n) % classes).astype(np.uint8), (len(names), 1))
        coarse = labels // 5
        for i, name in enumerate(names):
            columns = [coarse[i, :, None]] if classes == 100 else []
            pixels = images[i].transpose(0, 3, 1, 2).reshape(n, -1)
            members[name] = np.concatenate([*columns, labels[i, :, None], pixels], axis=1).tobytes()
        made[split] = images.reshape(-1, 32, 32, 3), labels.reshape(-1), coarse.reshape(-1)
    if classes == 100:
        members["fine_label_names.txt"] = "".join(f"fine{i}\n" for i in range(100)).encode()
        members["coarse_label_names.txt"] = "".join(f"coarse{i}\n" for i in range(20)).encode()
    else:
        members["batches.meta.txt"] = "".join(f"thing{i}\n" for i in range(10)).encode() + b"\n"
    return members, made


def write_tar(path, members, prefix="cifar-10-batches-bin/"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(prefix + name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def leftovers(tmp_path, name="mnist"):
    folder = tmp_path / "tfds" / name
    return sorted(f.name for f in folder.iterdir() if f.name != ".noprop_ode.lock") if folder.exists() else []
