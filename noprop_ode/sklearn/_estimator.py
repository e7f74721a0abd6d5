"""The classifier."""

import os
from collections.abc import Callable
from typing import Any

import jax.random as jr
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._choices import Prediction
from .._model import AbstractModel
from .._prediction.alike import predict_alike
from .._prediction.prediction import complete
from .._vector_field import AbstractVectorField
from ._build import Recipe
from ._files import load, save
from ._inputs import Labelled, as_images, held_out, labelled, numbered, ordered, rows_of
from ._moments import Moments, no_moments
from ._parameters import recipe_of
from ._rows import Draws, Part
from ._training import Kept, all_or_nothing, one_epoch, run, untrained


class NoPropClassifier(ClassifierMixin, BaseEstimator):
    r"""A NoProp model with scikit-learn's interface, for tables and images.

    It takes a table `[n, features]`, or images `[n, height, width, channels]`, uint8 or floating point, and labels that
    are numbers, booleans or strings. Features (for images, channels) are standardised to mean 0 and variance 1.

    What it learns depends on the contents of the rows, their weights and the seed, not on their order. Rows are drawn
    in proportion to their weights: one of weight 2 counts as two of weight 1, and a common factor has no effect.

    Fits with equal settings and row shapes share their compiled programs, whatever the number of rows.

    Once fitted, it has

    - `classes_`: the sorted labels.
    - `model_`: the [`noprop_ode.AbstractModel`][]. It sees standardised rows, and a table as images of one pixel.
    - `n_features_in_`, `feature_names_in_`, `row_shape_`: what it was fitted on; names only if the table had any.
    - `loss_curve_`: mean loss of each of the `n_iter_` epochs.
    - `validation_scores_`: accuracy after each epoch on the held-out rows, if any.
    - `seed_`: the seed of all randomness, drawn from `random_state`.
    """

    classes_: np.ndarray
    model_: AbstractModel
    row_shape_: tuple[int, ...]
    n_features_in_: int
    loss_curve_: list[float]
    validation_scores_: list[float]
    n_iter_: int
    seed_: int
    _recipe: Recipe
    _moments: Moments
    _kept: Kept

    def __init__(
        self,
        variant: str = "ct",
        *,
        network: Callable[..., AbstractVectorField] | None = None,
        hidden_sizes: tuple[int, ...] = (256,),
        num_blocks: int = 5,
        epochs: int = 50,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-3,
        prediction: Prediction | None = None,
        validation_fraction: float = 0.0,
        patience: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        """**Arguments:**

        - `variant`: `"ct"`, [`noprop_ode.NoPropCT`][] with cross-entropy at times U^3; `"fm"`,
            [`noprop_ode.NoPropFM`][], 8 states per image; or `"dt"`, [`noprop_ode.NoPropDT`][], cross-entropy, eta = 1.
        - `network`: makes the network, or one block of it, as `network(image_shape, num_classes, label_dim, key=key)`:
            [`noprop_ode.nn.ConvField`][] for instance. By default, hidden layers, or a small convolutional network for
            images of at least 8x8 pixels, with the paper's head.
        - `hidden_sizes`: units of the hidden layers of the default network; the last is the width of its head.
        - `num_blocks`: number of blocks of NoProp-DT.
        - `epochs`: passes over the rows; rows that do not fill a batch are left out, different ones each time.
        - `batch_size`: rows per step.
        - `learning_rate`, `weight_decay`: of AdamW. Predictions are made with a moving average of the weights.
        - `prediction`: how to predict; the model's default if not given.
        - `validation_fraction`: share of the rows to hold out, by class; the epoch with the best accuracy on them is
            kept, regardless of their weights.
        - `patience`: stop after this many epochs without a better one.
        - `random_state`: a seed, or a generator to draw one from.
        - `verbose`: above 0, show progress on standard error.
        """
        self.variant = variant
        self.network = network
        self.hidden_sizes = hidden_sizes
        self.num_blocks = num_blocks
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.prediction = prediction
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "NoPropClassifier":
        """Learns from scratch. A fit that fails or is interrupted leaves the classifier unchanged.

        **Arguments:** `X`, a table or images; `y`, labels, `[n]`; `sample_weight`, how much each row counts, `[n]`,
        equal by default.

        **Returns:** itself.

        **Raises:** `ValueError` or `TypeError` for invalid arguments, [`noprop_ode.NonFiniteLossError`][].
        """
        with all_or_nothing(self):
            recipe = recipe_of(self.get_params(deep=False))
            data = labelled(self, X, y, sample_weight, reset=True)
            self._begin(recipe, np.unique(data.labels), data)
            data, validation = held_out(self._in_order(data), self.validation_fraction, self.seed_, self.classes_)
            self._moments = self._moments.updated(data.rows, data.weights)
            trained = run(
                recipe,
                self._draws(data),
                None if validation is None else self._part(validation),
                len(self.classes_),
                epochs=int(self.epochs),
                patience=None if self.patience is None else int(self.patience),
                prediction=self.prediction,
                progress=self.verbose > 0,
            )
            self.model_, self._kept = trained.model, trained.kept
            self.loss_curve_ = trained.curves.losses
            self.validation_scores_ = trained.curves.accuracies
            self.n_iter_ = len(self.loss_curve_)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> "NoPropClassifier":
        """Learns from some rows in one epoch over them, continuing from the end of training, not from the epoch kept by
        `validation_fraction`; if that fails, nothing changes. Each row comes once, and some again to fill the last
        batch; fewer rows than a batch fill it evenly. Rows are standardised with the statistics of all rows so far.

        **Arguments:** `X`, `y`, `sample_weight` as for `fit`, and `classes`, all labels that there are, required on the
        first call.

        **Returns:** itself.

        **Raises:** as for `fit`, and `ValueError` for other classes than before.
        """
        begun = "_kept" in vars(self)
        if classes is None and not begun:
            raise ValueError("The first call of partial_fit needs all labels that there are: pass classes=.")
        with all_or_nothing(self):
            recipe = recipe_of(self.get_params(deep=False))
            data = labelled(self, X, y, sample_weight, reset=not begun)
            if not begun:
                self._begin(recipe, np.unique(np.asarray(classes)), data)
                shape = as_images(data.rows[:1]).shape[1:]
                self._kept = untrained(recipe, shape, len(self.classes_), self.seed_)
                self.loss_curve_, self.validation_scores_ = [], []
            elif classes is not None and not np.array_equal(np.unique(np.asarray(classes)), self.classes_):
                raise ValueError(f"classes must be those of the first call, {self.classes_!r}; got {classes!r}.")
            data = self._in_order(data)
            self._moments = self._moments.updated(data.rows, data.weights)
            self._kept, loss = one_epoch(recipe, self._kept, self._draws(data), len(self.loss_curve_))
            self.model_, self.loss_curve_ = self._kept.average, [*self.loss_curve_, loss]
            self.n_iter_ = len(self.loss_curve_)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The most probable label of each row.

        **Arguments:** `X`, rows like those it was fitted on. **Returns:** labels, `[n]`.
        """
        best = self.predict_log_proba(X).argmax(axis=1)
        return self.classes_[best]

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class.

        **Arguments:** `X`, rows like those it was fitted on.

        **Returns:** probabilities, `[n, classes]`, in the order of `classes_`.
        """
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """The log-probability of each class, in nats.

        **Arguments:** `X`, rows like those it was fitted on. **Returns:** `[n, classes]`, in the order of `classes_`.
        """
        check_is_fitted(self, "model_")
        images = as_images(self._moments.standardised(rows_of(self, X)))
        key, how = jr.fold_in(jr.key(self.seed_), 2), complete(self.model_, self.prediction)
        log_p = predict_alike(self.model_, images, key=key, prediction=how).astype(np.float64)
        return log_p - np.logaddexp.reduce(log_p, axis=1, keepdims=True)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the fitted classifier to a safetensors file: weights, training state, parameters, classes. No pickle.
        Your own `network` or `prediction` is not part of it, and must be passed to `load` again.

        **Arguments:** `path`, usually ending in `.safetensors`.

        **Raises:** `TypeError` for labels that are neither numbers, booleans nor strings, `ValueError` for parameters
        with which nothing could be fitted; [`noprop_ode.RunError`][] if the file cannot be written.
        """
        check_is_fitted(self, "model_")
        save(self, path)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        network: Callable[..., AbstractVectorField] | None = None,
        prediction: Prediction | None = None,
    ) -> "NoPropClassifier":
        """Reads a classifier that `save` wrote. Reading runs no code.

        **Arguments:**

        - `path`: the file.
        - `network`, `prediction`: those of the classifier, if it had any.

        **Returns:** the fitted classifier, which predicts and continues to learn like the one that was saved.

        **Raises:** `FileNotFoundError`, or [`noprop_ode.CheckpointError`][] for a file that is damaged or holds
        something else.
        """
        return load(cls, path, {"network": network, "prediction": prediction})

    def _begin(self, recipe: Recipe, classes: np.ndarray, data: Labelled) -> None:
        if len(classes) < 2:
            raise ValueError(f"There is nothing to tell apart in one class: got {classes!r} alone.")
        self._recipe, self.classes_ = recipe, classes
        self.seed_ = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        self._moments = no_moments(data.rows.shape[-1])

    def _in_order(self, data: Labelled) -> Labelled:
        return ordered(data._replace(labels=numbered(data.labels, self.classes_)))

    def _part(self, data: Labelled) -> Part:
        return Part(as_images(self._moments.standardised(data.rows)), data.labels)

    def _draws(self, data: Labelled) -> Draws:
        return Draws(self._part(data), data.weights, int(self.batch_size), self.seed_)
