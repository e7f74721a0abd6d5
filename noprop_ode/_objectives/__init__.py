"""The denoising error, its weight at each time, and the times of training."""
