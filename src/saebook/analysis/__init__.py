"""One file per method of analysis. Nothing here trains."""
