"""Joins blocks that were trained in separate runs into one model: the command `noprop-ode join`.

python experiments/join_blocks.py --help
"""

from noprop_ode.experiment import join_command as main


if __name__ == "__main__":
    main()
