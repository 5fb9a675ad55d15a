"""The report page's parts: markup, style and script."""
