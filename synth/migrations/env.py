"""Run by Alembic: migrates the connection that `synth.library_database` hands over."""

from alembic import context

from synth.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite alters a table by copying it.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
