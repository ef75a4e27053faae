"""The site: `python -m sphinx -W docs docs/_build/html`."""

import importlib.util
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
# Notebooks import examples, as they can in the root of the project.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")))
)
# What the pages execute should print nothing but what it computes.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras_sam

project = "keras_sam"
author = copyright = "keras_sam contributors"
release = version = keras_sam.__version__
html_title = f"keras_sam {version}"

extensions = [
    "docstrings",
    "mathml",
    "public_names",
    "results",
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "_ext", "results/generated"]
suppress_warnings = ["mystnb.mime_priority"]

autodoc_typehints = "none"
autodoc_member_order = "bysource"
autosummary_generate = True
autosummary_ignore_module_all = False
templates_path = ["_templates"]
napoleon_custom_sections = ["Reference"]
napoleon_use_ivar = True
napoleon_use_rtype = False

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_cache_path = str(Path(__file__).parent / "_build" / "notebooks")
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_execution_in_temp = True
nb_merge_streams = True
nb_output_stderr = "remove"

# For `-b linkcheck`. GitHub and arXiv answer many requests at once with an
# error of too many.
linkcheck_workers = 2
linkcheck_retries = 3
linkcheck_timeout = 30
linkcheck_rate_limit_timeout = 60

html_theme = "furo"
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = ["custom.css"]
html_copy_source = False
html_use_index = False
html_show_sphinx = False
html_math_renderer = "mathml"
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#1f6fb2",
        "color-brand-content": "#1f6fb2",
    },
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
if importlib.util.find_spec("keras_hub") is None:
    nb_execution_excludepatterns = ["**/keras_hub.md"]
