"""NoProp-DT on MNIST; the settings are those of the recipe mnist_dt.

TFDS_DATA_DIR=... python experiments/mnist_dt.py
"""

from noprop_ode.experiment import main


if __name__ == "__main__":
    main("mnist_dt")
