"""Classifiers as continuous-time dynamics, trained without global back-propagation.

NoProp (Li, Teh and Pascanu, arXiv 2503.24322) in JAX, with Equinox and Diffrax.
"""

from jaxtyping import install_import_hook as _install_import_hook

from . import _typecheck as _typecheck  # before the hook, which looks it up here


# Shapes and types of every function are checked from here on; `JAXTYPING_DISABLE=1` in the environment turns it off.
with _install_import_hook("noprop_ode", "noprop_ode._typecheck.typecheck"):
    from . import nn as nn
    from ._allocator import keep_freed_memory as keep_freed_memory
    from ._baseline import AdjointODE as AdjointODE, Backprop as Backprop
    from ._blocks import (
        AbstractBlockPlan as AbstractBlockPlan,
        AllBlocks as AllBlocks,
        Blocks as Blocks,
        BlocksInTurn as BlocksInTurn,
        OnlyBlock as OnlyBlock,
        SampledBlock as SampledBlock,
    )
    from ._blockwise import (
        BlockwiseState as BlockwiseState,
        BlockwiseTransformation as BlockwiseTransformation,
        blockwise as blockwise,
    )
    from ._ct import NoPropCT as NoPropCT
    from ._decoder import (
        DenoiserDecoder as DenoiserDecoder,
        PosteriorDecoder as PosteriorDecoder,
        ReadoutDecoder as ReadoutDecoder,
    )
    from ._dt import NoPropDT as NoPropDT
    from ._early_exit import EarlyExit as EarlyExit
    from ._elbo import elbo as elbo
    from ._embedding import (
        AbstractLabelEmbedding as AbstractLabelEmbedding,
        AbstractMatrixEmbedding as AbstractMatrixEmbedding,
        LearnedEmbedding as LearnedEmbedding,
        OneHot as OneHot,
        PrototypeEmbedding as PrototypeEmbedding,
        prototypes as prototypes,
    )
    from ._end_state import SampledEndState as SampledEndState
    from ._evaluate import (
        Evaluation as Evaluation,
        calibration_error as calibration_error,
        evaluate as evaluate,
    )
    from ._fm import NoPropFM as NoPropFM
    from ._gaussian import (
        AbstractEndState as AbstractEndState,
        AbstractGaussianModel as AbstractGaussianModel,
        MarginalEndState as MarginalEndState,
        kl_to_standard_normal as kl_to_standard_normal,
        marginal_sample as marginal_sample,
    )
    from ._grid import (
        GridSchedule as GridSchedule,
        cosine_grid as cosine_grid,
        linear_grid as linear_grid,
        noise_grid as noise_grid,
    )
    from ._learned_schedule import LearnedSchedule as LearnedSchedule
    from ._model import (
        AbstractDecoder as AbstractDecoder,
        AbstractMarginalModel as AbstractMarginalModel,
        AbstractModel as AbstractModel,
        AbstractSampler as AbstractSampler,
        LossTerms as LossTerms,
        Prediction as Prediction,
        Sample as Sample,
    )
    from ._partition import partitioned as partitioned
    from ._predict import (
        SolverError as SolverError,
        predict as predict,
        predict_log_proba as predict_log_proba,
        predict_one as predict_one,
    )
    from ._readout import (
        AbstractReadout as AbstractReadout,
        LinearReadout as LinearReadout,
        NearestEmbedding as NearestEmbedding,
        PosteriorReadout as PosteriorReadout,
        evidence as evidence,
        gaussian_readout as gaussian_readout,
        marginal_log_posterior as marginal_log_posterior,
        marginal_readout as marginal_readout,
    )
    from ._sampler import ODE as ODE, SDE as SDE, Ancestral as Ancestral
    from ._schedule import (
        AbstractNoiseSchedule as AbstractNoiseSchedule,
        CosineSchedule as CosineSchedule,
        LinearSchedule as LinearSchedule,
        SigmoidSchedule as SigmoidSchedule,
    )
    from ._solver_sampler import AbstractSolverSampler as AbstractSolverSampler
    from ._term import (
        AncestralCoefficients as AncestralCoefficients,
        AncestralTerm as AncestralTerm,
        ancestral_coefficients as ancestral_coefficients,
    )
    from ._timed_model import AbstractTimedModel as AbstractTimedModel
    from ._times import AbstractTimes as AbstractTimes, PowerTimes as PowerTimes, UniformTimes as UniformTimes
    from ._train import (
        Metrics as Metrics,
        NonFiniteLossError as NonFiniteLossError,
        TrainState as TrainState,
        train as train,
        train_step as train_step,
    )
    from ._trainable import AbstractFreezable as AbstractFreezable, trainable_mask as trainable_mask
    from ._training._callbacks import ProgressBar as ProgressBar, Validate as Validate
    from ._training._checkpoint import (
        load_arrays as load_arrays,
        read_header as read_header,
        save_arrays as save_arrays,
    )
    from ._training._errors import (
        CheckpointError as CheckpointError,
        FolderLostError as FolderLostError,
        Interrupted as Interrupted,
        RunError as RunError,
    )
    from ._training._fit import FitResult as FitResult, fit as fit
    from ._training._folder import RunFolder as RunFolder
    from ._training._optimiser import warmup_cosine as warmup_cosine
    from ._training._run import (
        EpochEnded as EpochEnded,
        Progress as Progress,
        Recorded as Recorded,
        Run as Run,
        Started as Started,
        Stepped as Stepped,
        Stopped as Stopped,
    )
    from ._training._sinks import (
        JsonLines as JsonLines,
        TensorBoard as TensorBoard,
        WeightsAndBiases as WeightsAndBiases,
        read_records as read_records,
    )
    from ._trajectory import Trajectories as Trajectories, trajectories as trajectories
    from ._vector_field import AbstractVectorField as AbstractVectorField
    from ._weighting import (
        AbstractObjective as AbstractObjective,
        AbstractWeighting as AbstractWeighting,
        CrossEntropy as CrossEntropy,
        ELBOWeighting as ELBOWeighting,
        MinSNRWeighting as MinSNRWeighting,
        SigmoidWeighting as SigmoidWeighting,
        SquaredError as SquaredError,
        UniformWeighting as UniformWeighting,
    )

__version__ = "0.1.0"


def __getattr__(name: str):
    """`noprop_ode.data` on first use: the core does not import it."""
    if name == "data":
        import importlib

        return importlib.import_module("noprop_ode.data")
    raise AttributeError(f"module 'noprop_ode' has no attribute {name!r}")
