"""From noise to label along the dynamics of a model."""
