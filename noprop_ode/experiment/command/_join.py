"""The command `noprop-ode join`."""

from collections.abc import Sequence
from pathlib import Path

from .._join import join_runs
from .._main import guarded
from ._parser import parser_of


_ABOUT = """Joins blocks that were trained in separate runs into one model, and evaluates it.

    noprop-ode train digits_dt --one-block 0 --out runs/apart/block-0     # on any machine, at any time, in any order
    noprop-ode train digits_dt --one-block 1 --out runs/apart/block-1     # ... and so on for each block
    %(prog)s runs/apart/block-* --out runs/joined
"""


def join_command(arguments: Sequence[str] | None = None, *, prog: str | None = None) -> None:
    """The command `noprop-ode join`: one model from runs that trained one block each.

    **Arguments:** as for [`noprop_ode.experiment.evaluate_command`][].
    """
    parser = parser_of(_ABOUT, prog)
    parser.add_argument("runs", type=Path, nargs="+", help="output folders of the runs, one per block")
    parser.add_argument("--out", type=Path, help="folder for the joined model; a new one below runs/")
    parser.add_argument("--data-dir", type=Path, help="folder of prepared data sets, if not that of the runs")
    parser.add_argument("--trust-imports", action="store_true", help="run the code that the runs import")
    args = parser.parse_args(arguments)
    guarded(lambda: join_runs(args.runs, folder=args.out, data_dir=args.data_dir, trust_imports=args.trust_imports))
