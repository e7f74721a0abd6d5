"""NoProp-CT on scikit-learn's 8x8 digits, which need no download."""

from noprop_ode.experiment import Config, main


CONFIG = Config(data="digits", epochs=25, dropout=0.0, time_power=3.0)

if __name__ == "__main__":
    main(CONFIG)
