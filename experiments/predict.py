"""Classifies image files with the saved model of a run: the command `noprop-ode predict`.

python experiments/predict.py --help
"""

from noprop_ode.experiment import predict_command as main


if __name__ == "__main__":
    main()
