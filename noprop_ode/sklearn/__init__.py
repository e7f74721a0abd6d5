"""A classifier with scikit-learn's interface; imported on first use, never by the core."""

from jaxtyping import install_import_hook

from .._importing import collector_paused


with collector_paused(), install_import_hook("noprop_ode.sklearn", "noprop_ode._typecheck.typecheck"):
    from . import (
        _build as _build,
        _moments as _moments,
        _networks as _networks,
        _optimiser as _optimiser,
        _rows as _rows,
    )

# Not checked by the hook: scikit-learn requires that a constructor accepts anything, and that `fit` reports errors.
from ._estimator import NoPropClassifier as NoPropClassifier
