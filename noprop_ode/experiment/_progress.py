from dataclasses import dataclass


@dataclass
class Progress:
    """What training knows of itself besides the weights; saved with every checkpoint."""

    step: int = 0
    validated_epochs: int = 0
    best_accuracy: float = -1.0
    best_epoch: int = 0
    stale: int = 0  # validations since the best
    rollbacks: int = 0
    records: int = 0  # lines of metrics written
    seconds: float = 0.0  # spent in steps, compilation apart
    timed_steps: int = 0

    @property
    def rate_scale(self) -> float:
        """What multiplies the learning rate: a half for every rollback."""
        return 0.5**self.rollbacks
