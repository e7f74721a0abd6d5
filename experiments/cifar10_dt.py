"""NoProp-DT on CIFAR-10; the settings are those of the recipe cifar10_dt.

TFDS_DATA_DIR=... python experiments/cifar10_dt.py
"""

from noprop_ode.experiment import main


if __name__ == "__main__":
    main("cifar10_dt")
