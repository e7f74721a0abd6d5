"""Text that came from a file: it is printed, never obeyed."""

from .._errors import RunError


def printable(text: object) -> str:
    """Text without what a terminal would obey: escapes, line breaks and other characters that do not print are written
    as Python writes them.

    **Arguments:** anything with a text. **Returns:** the text.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def shortened(text: object, length: int = 24) -> str:
    """Printable text of at most so many characters."""
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
