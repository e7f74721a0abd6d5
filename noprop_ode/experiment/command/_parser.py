"""What the parsers of the commands have in common."""

import argparse


def parser_of(about: str, prog: str | None) -> argparse.ArgumentParser:
    """A parser whose help keeps the lines of a text, in which `%(prog)s` is the name of the command."""
    return argparse.ArgumentParser(prog=prog, description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
