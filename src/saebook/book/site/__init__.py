"""From executed notebooks and results to HTML: what the build adds to pages, the staging folder, and Jupyter Book."""
