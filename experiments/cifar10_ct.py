"""NoProp-CT on CIFAR-10: the paper's network without dropout, one-hot labels, cross-entropy objective, times U^3.

    TFDS_DATA_DIR=... python experiments/cifar10_ct.py

Settings: recipe cifar10_ct. Measured with them before convolution gradients were made faster (the
same mathematics, other rounding), seed 0, in 985 s of wall time on 2 shared CPU cores (AMD EPYC, jax 0.10.2; other
jobs ran beside it), evaluation included; trained on 45,000 images, the rest of the training set for validation. Test
accuracy (NLL in nats):

    default: one DDIM step from the mean, denoiser      0.6977  (0.860)     1 evaluation of the head
    10 DDIM steps from noise, 16 draws averaged         0.6906  (1.004)   160
    10 DDIM steps from one draw of noise, denoiser      0.6448  (1.646)    10
    paper: 1000 Euler steps from one draw, readout      0.6483  (338)    1000
"""

from noprop_ode.experiment import main


if __name__ == "__main__":
    main("cifar10_ct")
