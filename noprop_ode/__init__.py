"""Classifiers as continuous-time dynamics, trained without global back-propagation.

NoProp (Li, Teh and Pascanu, arXiv 2503.24322) in JAX, with Equinox and Diffrax.
"""

import typing as _typing

from jaxtyping import install_import_hook as _install_import_hook

from . import _typecheck as _typecheck  # before the hook, which looks it up here
from ._importing import collector_paused as _collector_paused
from ._typecheck import ArgumentError as ArgumentError


# Shapes and types of every function are checked from here on; `JAXTYPING_DISABLE=1` in the environment turns it off.
with _collector_paused(), _install_import_hook("noprop_ode", "noprop_ode._typecheck.typecheck"):
    from . import nn as nn
    from ._allocator import keep_freed_memory as keep_freed_memory
    from ._block_model import AbstractBlockModel as AbstractBlockModel
    from ._blocks import (
        AbstractBlockPlan as AbstractBlockPlan,
        AllBlocks as AllBlocks,
        Blocks as Blocks,
        BlocksInTurn as BlocksInTurn,
        OnlyBlock as OnlyBlock,
        SampledBlock as SampledBlock,
    )
    from ._choices import (
        AbstractDecoder as AbstractDecoder,
        AbstractSampler as AbstractSampler,
        Prediction as Prediction,
        Sample as Sample,
    )
    from ._freezable import AbstractFreezable as AbstractFreezable
    from ._gaussian import (
        AbstractEndState as AbstractEndState,
        AbstractGaussianModel as AbstractGaussianModel,
        MarginalEndState as MarginalEndState,
        kl_to_standard_normal as kl_to_standard_normal,
        marginal_sample as marginal_sample,
    )
    from ._labels.embedding import (
        AbstractLabelEmbedding as AbstractLabelEmbedding,
        AbstractMatrixEmbedding as AbstractMatrixEmbedding,
        LearnedEmbedding as LearnedEmbedding,
        OneHot as OneHot,
    )
    from ._labels.prototypes import PrototypeEmbedding as PrototypeEmbedding, prototypes as prototypes
    from ._labels.readout import (
        AbstractReadout as AbstractReadout,
        LinearReadout as LinearReadout,
        NearestEmbedding as NearestEmbedding,
        PosteriorReadout as PosteriorReadout,
        evidence as evidence,
        gaussian_readout as gaussian_readout,
        marginal_log_posterior as marginal_log_posterior,
        marginal_readout as marginal_readout,
    )
    from ._model import (
        AbstractMarginalModel as AbstractMarginalModel,
        AbstractModel as AbstractModel,
        LossTerms as LossTerms,
    )
    from ._objectives.objective import (
        AbstractObjective as AbstractObjective,
        CrossEntropy as CrossEntropy,
        SquaredError as SquaredError,
    )
    from ._objectives.times import (
        AbstractTimes as AbstractTimes,
        PowerTimes as PowerTimes,
        UniformTimes as UniformTimes,
    )
    from ._objectives.weighting import (
        AbstractWeighting as AbstractWeighting,
        ELBOWeighting as ELBOWeighting,
        MinSNRWeighting as MinSNRWeighting,
        SigmoidWeighting as SigmoidWeighting,
        UniformWeighting as UniformWeighting,
    )
    from ._prediction.decoder import (
        DenoiserDecoder as DenoiserDecoder,
        PosteriorDecoder as PosteriorDecoder,
        ReadoutDecoder as ReadoutDecoder,
    )
    from ._prediction.encode import encode as encode
    from ._prediction.encoded import EncodedImages as EncodedImages
    from ._prediction.ensemble import EnsembleDecoder as EnsembleDecoder
    from ._prediction.evaluate import (
        Evaluation as Evaluation,
        Score as Score,
        calibration_error as calibration_error,
        evaluate as evaluate,
        score as score,
    )
    from ._prediction.fit_ensemble import fit_ensemble as fit_ensemble
    from ._prediction.one import predict_one as predict_one
    from ._prediction.predict import (
        SolverError as SolverError,
        predict as predict,
        predict_log_proba as predict_log_proba,
    )
    from ._prediction.trajectory import Trajectories as Trajectories, trajectories as trajectories
    from ._samplers.ancestral import Ancestral as Ancestral, AncestralTerm as AncestralTerm
    from ._samplers.base import AbstractSolverSampler as AbstractSolverSampler
    from ._samplers.early_exit import EarlyExit as EarlyExit
    from ._samplers.ode import ODE as ODE
    from ._samplers.sde import SDE as SDE
    from ._schedules.ancestral import (
        AncestralCoefficients as AncestralCoefficients,
        ancestral_coefficients as ancestral_coefficients,
    )
    from ._schedules.base import AbstractNoiseSchedule as AbstractNoiseSchedule
    from ._schedules.cosine import CosineSchedule as CosineSchedule
    from ._schedules.grid import (
        GridSchedule as GridSchedule,
        cosine_grid as cosine_grid,
        linear_grid as linear_grid,
        noise_grid as noise_grid,
    )
    from ._schedules.learned import LearnedSchedule as LearnedSchedule
    from ._schedules.linear import LinearSchedule as LinearSchedule
    from ._schedules.sigmoid import SigmoidSchedule as SigmoidSchedule
    from ._sizes import SizeError as SizeError
    from ._trainable import trainable_mask as trainable_mask
    from ._training.blockwise import (
        BlockwiseState as BlockwiseState,
        BlockwiseTransformation as BlockwiseTransformation,
        blockwise as blockwise,
    )
    from ._training.callbacks import ProgressBar as ProgressBar
    from ._training.checkpoint import load_arrays as load_arrays, read_header as read_header, save_arrays as save_arrays
    from ._training.copies import copied as copied
    from ._training.errors import (
        CheckpointError as CheckpointError,
        FolderLostError as FolderLostError,
        Interrupted as Interrupted,
        RunError as RunError,
    )
    from ._training.fit import FitResult as FitResult, fit as fit
    from ._training.folder import RunFolder as RunFolder
    from ._training.generator import NonFiniteLossError as NonFiniteLossError, train as train
    from ._training.muon import muon as muon
    from ._training.optimiser import warmup_cosine as warmup_cosine
    from ._training.parallel import Parallel as Parallel
    from ._training.partition import partitioned as partitioned
    from ._training.processes import gathered as gathered, start_processes as start_processes
    from ._training.run import (
        EpochEnded as EpochEnded,
        Progress as Progress,
        Recorded as Recorded,
        Run as Run,
        Started as Started,
        Stepped as Stepped,
        Stopped as Stopped,
    )
    from ._training.sinks import (
        JsonLines as JsonLines,
        TensorBoard as TensorBoard,
        WeightsAndBiases as WeightsAndBiases,
        read_records as read_records,
    )
    from ._training.step import (
        Metrics as Metrics,
        TrainState as TrainState,
        apply_gradients as apply_gradients,
        train_step as train_step,
    )
    from ._variants.baselines import AdjointODE as AdjointODE, Backprop as Backprop
    from ._variants.ct import NoPropCT as NoPropCT
    from ._variants.dt import NoPropDT as NoPropDT
    from ._variants.elbo import elbo as elbo
    from ._variants.end_state import SampledEndState as SampledEndState
    from ._variants.fm import NoPropFM as NoPropFM
    from ._variants.one_block import OneBlock as OneBlock, join_blocks as join_blocks
    from ._variants.supervised import Supervised as Supervised
    from ._variants.timed import AbstractTimedModel as AbstractTimedModel
    from ._vector_field import (
        AbstractSizedField as AbstractSizedField,
        AbstractVectorField as AbstractVectorField,
        FieldSizes as FieldSizes,
    )

_typecheck.begin()
__version__ = "0.1.0"


if _typing.TYPE_CHECKING:
    from . import data as data, experiment as experiment, sklearn as sklearn
else:
    # Type checkers do not see it: they would accept any name.
    def __getattr__(name: str):
        """`noprop_ode.data`, `.experiment` and `.sklearn` on first use: the core does not import them."""
        if name in _LAZY:
            import importlib

            return importlib.import_module(f"noprop_ode.{name}")
        raise AttributeError(f"module 'noprop_ode' has no attribute {name!r}")


_LAZY = ("data", "experiment", "sklearn")


def __dir__():
    return sorted({*globals(), *_LAZY})
