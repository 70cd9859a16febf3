"""Sphinx settings of the documentation site; `make docs` builds it strictly into build/site."""

from __future__ import annotations

project = "edge-difom"
author = "edge-difom contributors"
copyright = author
extensions = ["myst_parser"]
exclude_patterns = ["README.md"]

# Links to headings are checked, as links to files are.
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]

html_theme = "furo"
html_title = "edge-difom"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
# Furo names its own project in the footer by default; no page loads anything from the network.
html_theme_options = {"navigation_with_keys": True}
