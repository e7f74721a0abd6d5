import sys

import tyro

from .. import NonFiniteLossError, data
from ._config import Config
from ._run import run


def main(config: Config) -> None:
    """The command line of an experiment: its settings as flags, then a run.

    Exits with 2 for bad settings or missing data and with 1 for training that diverges, each with one clear message.

    **Arguments:**

    - `config`: the settings of the experiment; flags override them.
    """
    try:
        run(tyro.cli(Config, default=config))
    except (data.DatasetError, FileExistsError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except NonFiniteLossError as error:
        print(f"error: {error} They are saved in the output folder.", file=sys.stderr)
        sys.exit(1)
