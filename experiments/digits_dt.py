"""NoProp-DT on scikit-learn's 8x8 digits; the settings are in configs/digits_dt.yaml.

python experiments/digits_dt.py
"""

from pathlib import Path

from noprop_ode.experiment import main


if __name__ == "__main__":
    main(Path(__file__).parent / "configs", "digits_dt")
