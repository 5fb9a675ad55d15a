"""Ordered steps from an empty database to the schema of `synth.schema`."""
