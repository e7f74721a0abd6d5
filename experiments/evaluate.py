"""Evaluates the saved model of a run again: the command `noprop-ode evaluate`.

python experiments/evaluate.py --help
"""

from noprop_ode.experiment import evaluate_command as main


if __name__ == "__main__":
    main()
