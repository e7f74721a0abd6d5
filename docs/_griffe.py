"""A griffe extension for the reference pages."""

import inspect
from typing import Any

import griffe


ARGUMENTS = "**Arguments:**"


class InheritDocstrings(griffe.Extension):
    """A method or property that says nothing is documented by the class it comes from, as in Python's `help`; one that
    says only what it does differently gets the arguments and the result from there. The docstring that Python gives
    every `__init__` without one ("Initialize self. See help ...") is dropped."""

    def on_function_instance(self, *, node: griffe.ObjectNode, func: griffe.Function, **kwargs: Any) -> None:
        del kwargs
        inherit(node, func)

    def on_attribute_instance(self, *, node: griffe.ObjectNode, attr: griffe.Attribute, **kwargs: Any) -> None:
        del kwargs
        if "property" in attr.labels:
            inherit(node, attr)


def inherit(node: griffe.ObjectNode, member: griffe.Function | griffe.Attribute) -> None:
    own = "" if member.docstring is None else member.docstring.value
    base = "" if node.parent is None else documentation_above(node.parent.obj, node.name)
    if not own:
        text = base
    elif ARGUMENTS in base and ARGUMENTS not in own:
        text = f"{own}\n\n{base[base.index(ARGUMENTS) :]}"
    else:
        text = own
    text = "" if text == object.__init__.__doc__ else text
    member.docstring = griffe.Docstring(text, parent=member) if text else None


def documentation_above(cls: Any, name: str) -> str:
    """The docstring of that member of the nearest base class of ours that itself has one."""
    bases = cls.__mro__[1:] if inspect.isclass(cls) else ()
    members = (vars(base).get(name) for base in bases if base.__module__.startswith("noprop_ode"))
    found = (getattr(member, "__doc__", None) for member in members)
    return inspect.cleandoc(next(filter(None, found), ""))
