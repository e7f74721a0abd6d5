"""NoProp-CT on MNIST: the paper's network without dropout, one-hot labels, cross-entropy objective, times U^3.

    TFDS_DATA_DIR=... python experiments/mnist_ct.py --epochs 3

Settings: recipe mnist_ct. Measured with them before convolution gradients were made faster (the same
mathematics, other rounding), seed 0, in 940 s of wall time on 2 shared CPU cores (AMD EPYC, jax 0.10.2; another job
ran beside it), evaluation included; trained on 54,000 images, the rest of the training set for validation. Test
accuracy (NLL in nats):

    default: one DDIM step from the mean, denoiser      0.9926  (0.022)     1 evaluation of the head
    one DDIM step from one draw of noise, denoiser      0.9917  (0.025)     1
    20 Heun steps from one draw of noise, readout       0.9920  (4.92)     40
    paper: 1000 Euler steps from one draw, readout      0.9923  (5.05)   1000
"""

from noprop_ode.experiment import main


if __name__ == "__main__":
    main("mnist_ct")
