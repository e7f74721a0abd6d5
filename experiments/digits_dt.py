"""NoProp-DT on scikit-learn's 8x8 digits; the settings are those of the recipe digits_dt.

python experiments/digits_dt.py
"""

from noprop_ode.experiment import main


if __name__ == "__main__":
    main("digits_dt")
