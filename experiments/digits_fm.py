"""NoProp-FM on scikit-learn's 8x8 digits; the settings are those of the recipe digits_fm.

python experiments/digits_fm.py
"""

from noprop_ode.experiment import main


if __name__ == "__main__":
    main("digits_fm")
