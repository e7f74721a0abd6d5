from .._hints import did_you_mean as did_you_mean


class ConfigError(ValueError):
    """A setting is unknown, has the wrong type, or does not go with the others."""


class RunError(RuntimeError):
    """A run cannot be started, continued or read."""
