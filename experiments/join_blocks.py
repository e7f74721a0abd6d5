"""Joins blocks that trained as runs of their own into one model, and evaluates it.

noprop-ode train digits_dt --one-block 0 --out runs/apart/block-0     # on any machine, at any time, in any order
noprop-ode train digits_dt --one-block 1 --out runs/apart/block-1     # ... and so on for each block
python experiments/join_blocks.py runs/apart/block-* --out runs/joined
"""

import argparse
from pathlib import Path

from noprop_ode.experiment import guarded, join_runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="output folders of the runs, one for each block")
    parser.add_argument("--out", type=Path, help="folder for the joined model; a new one below runs/")
    parser.add_argument("--trust-imports", action="store_true", help="run the code that the runs import")
    args = parser.parse_args()
    guarded(lambda: join_runs(args.runs, folder=args.out, trust_imports=args.trust_imports))


if __name__ == "__main__":
    main()
