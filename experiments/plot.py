"""Plots of one or more runs: the command `noprop-ode plot`.

python experiments/plot.py --help
"""

from noprop_ode.experiment import plot_command as main


if __name__ == "__main__":
    main()
