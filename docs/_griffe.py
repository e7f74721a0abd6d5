"""A griffe extension for the reference pages."""

from typing import Any

import griffe


class DropInheritedInitDocstring(griffe.Extension):
    """Drops the docstring that Python gives every `__init__` without one ("Initialize self. See help ...")."""

    def on_function_instance(self, *, func: griffe.Function, **kwargs: Any) -> None:
        del kwargs
        if func.docstring is not None and func.docstring.value == object.__init__.__doc__:
            func.docstring = None
