"""What we claim, one file per claim."""
