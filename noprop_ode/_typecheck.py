"""The type checker of the package: beartype, with an `int` accepted where a `float` is asked for (PEP 484)."""

from beartype import BeartypeConf, beartype


typecheck = beartype(conf=BeartypeConf(is_pep484_tower=True))
