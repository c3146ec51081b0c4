"""Sphinx settings of the site; ``docs/build.sh`` builds it. Nothing is fetched: see ``foreign.txt``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
EXAMPLE = ROOT / "examples" / "crystal_equation_of_state"  # whose run.py a page of the gallery imports
sys.path[:0] = [str(ROOT), str(DOCS / "machinery"), str(EXAMPLE)]

import foreign  # noqa: E402
import generated  # noqa: E402

from openmm_nequip import __version__  # noqa: E402

project = "openmm-nequip"
author = "openmm-nequip developers"
copyright = "openmm-nequip developers, MIT licence"
version = release = __version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "mathml",
]
exclude_patterns = ["_build", "machinery"]
nitpicky = True
smartquotes = False  # options keep their two hyphens
html_math_renderer = "mathml"
suppress_warnings = ["config.cache"]  # the gallery's settings hold what Sphinx cannot keep between builds

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = False

autodoc_typehints = "none"  # types, shapes and units stand in the docstrings
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"  # only the names below become links: prose in a type, such as "(n, 3)", is no name
numpydoc_xref_aliases = foreign.ALIASES

intersphinx_mapping = foreign.inventories(DOCS / "foreign.txt", DOCS / "_build" / "inventories")
#: Names that have no page: what other packages do not document, and types that are not part of the public face.
nitpick_ignore_regex = [
    (r"py:.*", r"openmmml\..*"),  # OpenMM-ML publishes no inventory and no page of each class
    (r"py:.*", r"openmm_nequip\.\w+(\.\w+)*"),  # names at the address of their inner module, in docstrings
    (r"py:.*", r"(Options|Format|Evaluator|Placement|PotentialSpec|ForceTable)"),
    (r"py:.*", r"(ModelInfo|Model|_evaluate|STRAIN)[.\w]*"),  # fields of data classes stand among the parameters
]

sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"__init__",
    "plot_gallery": os.environ.get("DOCS_GALLERY", "run") == "run",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,
    "image_scrapers": ("matplotlib",),
    "within_subsection_order": "FileNameSortKey",
    "backreferences_dir": None,
    "abort_on_example_error": True,
}

templates_path = []
html_theme = "furo"
pygments_style, pygments_dark_style = "friendly", "monokai"
html_title = f"openmm-nequip {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {
    "sidebar_hide_name": False,
    "light_css_variables": {"color-brand-primary": "#0072b2", "color-brand-content": "#0072b2"},
    "dark_css_variables": {"color-brand-primary": "#56b4e9", "color-brand-content": "#56b4e9"},
}
html_copy_source = False
copybutton_exclude = ".linenos, .gp, .go"


def setup(app):
    """Pages that are made from the code: the command line, the errors, the examples' readmes."""
    app.connect("builder-inited", lambda app: generated.write_pages(DOCS))
