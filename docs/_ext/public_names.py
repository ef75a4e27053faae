"""Every public name has a page, and none has two."""

import importlib

from sphinx.errors import ExtensionError

MODULES = (
    "keras_sam",
    "keras_sam.callbacks",
    "keras_sam.data",
    "keras_sam.experiments",
    "keras_sam.methods",
    "keras_sam.networks",
    "keras_sam.plots",
    "keras_sam.schedules",
    "keras_sam.sharpness",
    "keras_sam.vectors",
)


def public_names():
    """Return the names that users import, with those of their modules."""
    names = set()
    for module in MODULES:
        for name in importlib.import_module(module).__all__:
            names.add(f"{module}.{name}")
    return names - set(MODULES)


def _check(app, env):
    del app
    documented = set(env.domains["py"].objects)
    missing = sorted(public_names() - documented)
    if missing:
        raise ExtensionError(f"Without a page: {', '.join(missing)}")


def setup(app):
    """Check after all pages have been read."""
    app.connect("env-check-consistency", _check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
