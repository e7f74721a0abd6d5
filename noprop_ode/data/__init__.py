"""Image-classification data sets, in memory or streamed from disk; imported by the core only while `fit` runs."""

from jaxtyping import install_import_hook

from .._importing import collector_paused


with collector_paused(), install_import_hook("noprop_ode.data", "noprop_ode._typecheck.typecheck"):
    from ._arrays import from_arrays as from_arrays
    from ._augment import (
        Augmentation as Augmentation,
        crop_and_flip as crop_and_flip,
        cutout as cutout,
        mirror as mirror,
        translate as translate,
    )
    from ._batches import Labelled as Labelled, batches as batches
    from ._class_folders import from_folder as from_folder
    from ._dataset import Dataset as Dataset, Splits as Splits
    from ._errors import (
        DatasetError as DatasetError,
        DatasetNotFoundError as DatasetNotFoundError,
        MissingDependencyError as MissingDependencyError,
    )
    from ._load import load as load
    from ._streamed import StreamedImages as StreamedImages
