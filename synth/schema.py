"""The tables of a library.  A change here needs a new file in `synth/migrations/versions`."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

# Migrations refer to constraints by name, so none is left to the database to name.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

programs = Table(
    "programs",
    metadata,
    Column("hash", String, primary_key=True),
    Column("text", String, nullable=False),
    Column("first_seen", String, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", String, nullable=False),
    Column("model", String, nullable=False),
    Column("model_revision", String, nullable=False),
    Column("texts_sha256", String, nullable=False),
    Column("settings", JSON, nullable=False),
    Column("headscript_version", String, nullable=False),
    Column("started", String, nullable=False),
    Column("finished", String),
    UniqueConstraint("key"),
)

batches = Table(
    "batches",
    metadata,
    Column("run_id", Integer, ForeignKey("runs.id"), primary_key=True),
    Column("layer", Integer, primary_key=True),
    Column("head", Integer, primary_key=True),
    Column("stage", String, primary_key=True),
    Column("batch", Integer, primary_key=True),
)

proposals = Table(
    "proposals",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", Integer, nullable=False),
    Column("layer", Integer, nullable=False),
    Column("head", Integer, nullable=False),
    Column("stage", String, nullable=False),
    Column("batch", Integer, nullable=False),
    Column("raw", String, nullable=False),
    Column("status", String, nullable=False),
    Column("program_hash", String, ForeignKey("programs.hash"), index=True),
    Column("code", String),
    Column("message", String),
    Column("line", Integer),
    Column("column", Integer),
    Column("proposer", String, nullable=False),
    Column("prompt_sha256", String),
    Column("seed", BigInteger, nullable=False),
    Column("parents", JSON, nullable=False),
    Column("tokens", Integer),
    Column("seconds", Float, nullable=False),
    Column("dollars", Float, nullable=False, server_default="0"),
    # No proposal without its batch: what is stored is whole.
    ForeignKeyConstraint(
        ["run_id", "layer", "head", "stage", "batch"],
        ["batches.run_id", "batches.layer", "batches.head", "batches.stage", "batches.batch"],
    ),
    Index("ix_proposals_run_head", "run_id", "layer", "head"),
)

scores = Table(
    "scores",
    metadata,
    Column("program_hash", String, ForeignKey("programs.hash"), primary_key=True),
    Column("model", String, primary_key=True),
    Column("model_revision", String, primary_key=True),
    Column("layer", Integer, primary_key=True),
    Column("head", Integer, primary_key=True),
    Column("texts_sha256", String, primary_key=True),
    Column("split", String, primary_key=True),
    Column("metric_version", Integer, primary_key=True),
    Column("documents", Integer, nullable=False),
    Column("iou", Float, nullable=False),
    Column("iou_per_document", JSON, nullable=False),
    Column("iou_no_sink", Float),
    Column("jsd", Float),
    Column("output_error", Float),
    Column("iou_no_sink_per_document", JSON(none_as_null=True)),
    Column("jsd_per_document", JSON(none_as_null=True)),
    Column("output_error_per_document", JSON(none_as_null=True)),
    Column("damage", Float),
)

choices = Table(
    "choices",
    metadata,
    Column("model", String, primary_key=True),
    Column("model_revision", String, primary_key=True),
    Column("layer", Integer, primary_key=True),
    Column("head", Integer, primary_key=True),
    Column("choice", String, primary_key=True),
    Column("program_hash", String, ForeignKey("programs.hash"), nullable=False, index=True),
    Column("run_id", Integer, ForeignKey("runs.id"), nullable=False),
    Column("select_iou", Float, nullable=False),
)

baselines = Table(
    "baselines",
    metadata,
    Column("run_id", Integer, ForeignKey("runs.id"), primary_key=True),
    Column("layer", Integer, primary_key=True),
    Column("head", Integer, primary_key=True),
    Column("name", String, primary_key=True),
    Column("split", String, primary_key=True),
    Column("iou", Float, nullable=False),
    Column("iou_per_document", JSON, nullable=False),
)

examples = Table(
    "examples",
    metadata,
    Column("program_hash", String, ForeignKey("programs.hash"), primary_key=True),
    Column("model", String, primary_key=True),
    Column("model_revision", String, primary_key=True),
    Column("layer", Integer, primary_key=True),
    Column("head", Integer, primary_key=True),
    Column("document", String, primary_key=True),
    Column("tokens", JSON, nullable=False),
    Column("real", LargeBinary, nullable=False),
    Column("predicted", LargeBinary, nullable=False),
)
