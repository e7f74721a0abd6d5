"""NoProp-FM on MNIST; the settings are in configs/mnist_fm.yaml.

TFDS_DATA_DIR=... python experiments/mnist_fm.py
"""

from pathlib import Path

from noprop_ode.experiment import main


if __name__ == "__main__":
    main(Path(__file__).parent / "configs", "mnist_fm")
