"""Exports the saved model of a run, which then predicts without this package: the command `noprop-ode export`.

python experiments/export.py --help
"""

from noprop_ode.experiment import export_command as main


if __name__ == "__main__":
    main()
