"""Trains a classifier from a configuration: the command `noprop-ode train`.

python experiments/train.py --list-configs
python experiments/train.py cifar10_ct --epochs 10
python experiments/train.py --config mine.yaml --print-config
python experiments/train.py --resume runs/cifar10_ct-seed0-00
"""

from noprop_ode.experiment import main


if __name__ == "__main__":
    main()
