"""The data of an experiment, and what a model must know about them."""

from .. import data
from ._config import Config
from ._context import DataSpec
from ._errors import ConfigError, show, within
from ._registry import names_of


def load_data(config: Config) -> data.Splits:
    """The data of an experiment: from a registered loader of this name, or from TFDS.

    **Raises:** `noprop_ode.data.DatasetError`, or `ConfigError` for a registered loader that does not suit the
    settings.
    """
    section, seed, name = config.data, config.training.seed, config.data.name.type
    if name in names_of("data"):
        if section.image_size is not None:
            raise ConfigError(f"data.image_size: the loader {name!r} has its own; leave it out.")
        if section.stream or section.workers:
            setting = "stream" if section.stream else "workers"
            raise ConfigError(f"data.{setting}: the loader {name!r} decides itself what it reads when; leave it out.")
        with within("data.name"):
            splits = section.name.build("data", section.dir, section.validation, seed)
            if not isinstance(splits, data.Splits):
                raise TypeError(f"the loader {name!r} gave {show(type(splits).__name__)}, not noprop_ode.data.Splits")
        if splits.validation is None:
            raise ConfigError(f"data.name: the loader {name!r} gave no validation part, which runs choose by.")
        return splits
    return data.load(
        name,
        data_dir=section.dir,
        image_size=section.image_size,
        validation=section.validation,
        seed=seed,
        stream=section.stream,
        workers=section.workers,
    )


def describe(train_set: data.Dataset) -> DataSpec:
    """What a model must know about its data; pixel statistics of the training part alone, or of a sample of it if it is
    streamed."""
    if len(train_set.image_shape) != 3:
        raise ConfigError(
            f"data.name: expected images of [height, width, channels]; the loader gave {list(train_set.image_shape)}. "
            "Grey images have one channel, and rows of a table are images of one pixel."
        )
    height, width, channels = train_set.image_shape
    return DataSpec((height, width, channels), train_set.class_names, train_set.mean, train_set.std)
