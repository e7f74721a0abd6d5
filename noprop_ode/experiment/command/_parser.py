"""The common part of the parsers of the commands."""

import argparse


def parser_of(about: str, prog: str | None) -> argparse.ArgumentParser:
    """A parser whose help keeps the lines of a text, in which `%(prog)s` is the name of the command."""
    return argparse.ArgumentParser(prog=prog, description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
