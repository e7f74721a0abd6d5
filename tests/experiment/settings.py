"""Settings as the tests of configurations write them."""

from noprop_ode.experiment import Config, DataSpec, override, parse_overrides


SPEC = DataSpec((8, 8, 1), tuple("0123456789"), 0.3, 0.4)


def parse(arguments: str, **values) -> Config:
    """The settings of a command line."""
    return override(values, parse_overrides(arguments.split()))
