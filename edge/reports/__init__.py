"""HTML pages and plots, from Jinja templates and matplotlib (extra `report`)."""
