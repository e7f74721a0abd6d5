"""NoProp-CT on CIFAR-10: the paper's network, cross-entropy objective."""

from noprop_ode.experiment import Config, main


CONFIG = Config(data="cifar10", epochs=3, dropout=0.0, time_power=3.0)

if __name__ == "__main__":
    main(CONFIG)
