"""The report as one HTML page: figures as data, charts, chapters of sources, and the template."""
