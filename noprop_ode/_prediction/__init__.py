"""From images to class probabilities."""
