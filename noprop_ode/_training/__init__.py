"""Training: the step, the generator over steps, `fit` and its callbacks, checkpoints, optimisers."""
