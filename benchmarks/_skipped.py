"""A benchmark that cannot run here."""


class Skipped(Exception):
    """A benchmark cannot run here, for a reason that is not a failure."""
