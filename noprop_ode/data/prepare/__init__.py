"""Makes folders that `load` reads from published archives; loading itself never imports this package."""

from jaxtyping import install_import_hook


with install_import_hook("noprop_ode.data.prepare", "noprop_ode._typecheck.typecheck"):
    from ._command import main as main
    from ._prepare import prepare as prepare
    from ._sources import SOURCES as SOURCES
