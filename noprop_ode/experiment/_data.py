"""The data of an experiment, and what a model must know of them."""

from .. import data
from ._config import Config
from ._context import DataSpec
from ._errors import ConfigError
from ._registry import component_of, names_of


def load_data(config: Config) -> data.Splits:
    """The data of an experiment: by a registered loader of this name, or from TFDS.

    **Raises:** `noprop_ode.data.DatasetError`.
    """
    section, seed = config.data, config.training.seed
    if section.name in names_of("data"):
        if section.image_size is not None:
            raise ConfigError(f"data.image_size: the loader {section.name!r} has its own; leave it out.")
        splits = component_of("data", section.name).build({}, section.dir, section.validation, seed)
        if splits.validation is None:
            raise ConfigError(f"data.name: the loader {section.name!r} gave no validation part, which runs choose by.")
        return splits
    return data.load(
        section.name,
        data_dir=section.dir,
        image_size=section.image_size,
        validation=section.validation,
        seed=seed,
    )


def describe(train_set: data.Dataset) -> DataSpec:
    """What a model must know of its data; pixel statistics of the training part alone."""
    height, width, channels = train_set.image_shape
    return DataSpec((height, width, channels), train_set.class_names, train_set.mean, train_set.std)
