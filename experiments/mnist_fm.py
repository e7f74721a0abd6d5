"""NoProp-FM on MNIST; the settings are those of the recipe mnist_fm.

TFDS_DATA_DIR=... python experiments/mnist_fm.py
"""

from noprop_ode.experiment import main


if __name__ == "__main__":
    main("mnist_fm")
