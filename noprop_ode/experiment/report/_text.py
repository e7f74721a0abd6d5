"""Text that came from a file: it is printed, never interpreted."""

from .._errors import RunError


def printable(text: object) -> str:
    """Text without anything that a terminal would interpret: escapes, line breaks and other characters that do not
    print are escaped as in Python.

    **Arguments:** any object. **Returns:** its text.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def shortened(text: object, length: int = 24) -> str:
    """Printable text of at most `length` characters."""
    found = printable(text)
    return found if len(found) <= length else found[: length - 1] + "…"


def say(text: str) -> None:
    """Prints on standard output.

    **Raises:** `RunError` if its encoding lacks a character.
    """
    try:
        print(text, flush=True)
    except UnicodeEncodeError as error:
        missing = ascii(error.object[error.start])
        raise RunError(
            f"The output is written as {error.encoding}, which has no {missing}; set PYTHONIOENCODING=utf-8 in the "
            "environment."
        ) from error
