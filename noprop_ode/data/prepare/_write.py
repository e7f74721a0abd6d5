"""Writes a data set as the array_record folder that TFDS reads."""

import io
import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._errors import require
from ._archives import Contents
from ._download import Progress


# Folders that are being written. Anything with another name is not ours.
_OUR_FOLDER = re.compile(r"\.noprop_ode-[0-9a-f]{8}\.incomplete", re.ASCII)


def write_folder(name: str, contents: Contents, final: Path) -> None:
    """Write one prepared data set, completely or not at all.

    Everything is written to a new hidden folder next to the final one, which is then renamed, so that an interrupted
    run leaves nothing under the final name. The remains of killed runs are removed first, so only one run at a time may
    do this.

    **Arguments:**

    - `name`: name of the data set.
    - `contents`: its images and labels.
    - `final`: the folder to make, `data_dir/NAME/VERSION`.

    **Raises:**

    `OSError` if the disk is full or cannot be written.
    """
    for left in final.parent.iterdir():
        if _OUR_FOLDER.fullmatch(left.name):
            shutil.rmtree(left, ignore_errors=True)  # which follows no link
    building = final.parent / f".noprop_ode-{secrets.token_hex(4)}.incomplete"
    building.mkdir()
    try:
        splits = [_write_split(name, split, contents, building) for split in contents.images]
        info = {
            "name": name,
            "version": final.name,
            "fileFormat": "array_record",
            "supervisedKeys": {"tuple": {"items": [{"featureKey": "image"}, {"featureKey": "label"}]}},
            "splits": splits,
        }
        (building / "features.json").write_text(json.dumps(_features(contents), indent=1))
        for key, names in contents.class_names.items():
            (building / f"{key}.labels.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
        (building / "dataset_info.json").write_text(json.dumps(info, indent=1))
        _flush(building)
        building.rename(final)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Flush the files to disk before the folder gets its final name."""
    for path in folder.iterdir():
        with open(path, "rb+") as file:
            os.fsync(file.fileno())


def _write_split(name: str, split: str, contents: Contents, folder: Path) -> dict[str, Any]:
    module, proto = require("array_record.python.array_record_module"), require("tensorflow_datasets.proto")
    picture_of = require("PIL.Image").fromarray
    images, labels = contents.images[split], contents.labels[split]
    path = folder / f"{name}-{split}.array_record-00000-of-00001"
    progress = Progress(f"writing {name} {split}", len(images), "images")
    size = 0
    try:
        # One record per group: data_source reads at random.
        writer = module.ArrayRecordWriter(str(path), "group_size:1")
        for i, image in enumerate(images):
            identity = f"{split}_{i:05d}" if contents.has_ids else None
            picture = picture_of(image[..., 0] if image.shape[2] == 1 else image)
            classes = {key: int(values[i]) for key, values in labels.items()}
            record = _record(proto.tf_example_pb2.Example(), picture, classes, identity)
            writer.write(record)
            size += len(record)
            progress(i + 1)
        writer.close()
        reader = module.ArrayRecordReader(str(path))
        written = reader.num_records()
        reader.close()
    except (RuntimeError, ValueError, IndexError) as error:  # how the C++ writer reports a failing disk
        raise OSError(f"cannot write {path}: {error}") from error
    if written != len(images):
        raise OSError(f"expected {len(images)} records in {path}, got {written}; is the disk full?")
    return {
        "name": split,
        "shardLengths": [str(len(images))],
        "numBytes": str(size),
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    }


def _record(example: Any, picture: Any, labels: Mapping[str, int], identity: str | None) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    example.features.feature["image"].bytes_list.value.append(buffer.getvalue())
    for key, label in labels.items():
        example.features.feature[key].int64_list.value.append(label)
    if identity is not None:
        example.features.feature["id"].bytes_list.value.append(identity.encode())
    # Protobuf orders a map differently in every process unless told not to.
    return example.SerializeToString(deterministic=True)


def _features(contents: Contents) -> dict[str, Any]:
    module = "tensorflow_datasets.core.features"
    shape = [str(d) for d in contents.images["train"].shape[1:]]
    features: dict[str, Any] = {
        "image": {
            "pythonClassName": f"{module}.image_feature.Image",
            "image": {"dtype": "uint8", "shape": {"dimensions": shape}, "encodingFormat": "png"},
        }
    }
    for key, names in contents.class_names.items():
        features[key] = {
            "pythonClassName": f"{module}.class_label_feature.ClassLabel",
            "classLabel": {"numClasses": str(len(names))},
        }
    if contents.has_ids:
        features["id"] = {"pythonClassName": f"{module}.text_feature.Text", "text": {}}
    return {
        "pythonClassName": f"{module}.features_dict.FeaturesDict",
        "featuresDict": {"features": features},
    }
