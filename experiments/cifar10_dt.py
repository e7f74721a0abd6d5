"""NoProp-DT on CIFAR-10; the settings are in configs/cifar10_dt.yaml.

TFDS_DATA_DIR=... python experiments/cifar10_dt.py
"""

from pathlib import Path

from noprop_ode.experiment import main


if __name__ == "__main__":
    main(Path(__file__).parent / "configs", "cifar10_dt")
