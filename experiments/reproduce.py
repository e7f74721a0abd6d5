"""The paper's table, or any part of it, and the page of its results: the command `noprop-ode reproduce`.

python experiments/reproduce.py --help
"""

from noprop_ode.experiment import reproduce_command as main


if __name__ == "__main__":
    main()
