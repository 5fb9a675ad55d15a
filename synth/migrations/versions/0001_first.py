"""The first schema.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "programs",
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("first_seen", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_programs"),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("model_revision", sa.String(), nullable=False),
        sa.Column("texts_sha256", sa.String(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("headscript_version", sa.String(), nullable=False),
        sa.Column("started", sa.String(), nullable=False),
        sa.Column("finished", sa.String()),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("key", name="uq_runs"),
    )
    op.create_table(
        "baselines",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("layer", sa.Integer(), nullable=False),
        sa.Column("head", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("split", sa.String(), nullable=False),
        sa.Column("iou", sa.Float(), nullable=False),
        sa.Column("iou_per_document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_baselines_runs"),
        sa.PrimaryKeyConstraint("run_id", "layer", "head", "name", "split", name="pk_baselines"),
    )
    op.create_table(
        "batches",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("layer", sa.Integer(), nullable=False),
        sa.Column("head", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_batches_runs"),
        sa.PrimaryKeyConstraint("run_id", "layer", "head", "stage", "batch", name="pk_batches"),
    )
    op.create_table(
        "choices",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("model_revision", sa.String(), nullable=False),
        sa.Column("layer", sa.Integer(), nullable=False),
        sa.Column("head", sa.Integer(), nullable=False),
        sa.Column("choice", sa.String(), nullable=False),
        sa.Column("program_hash", sa.String(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("select_iou", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["program_hash"], ["programs.hash"], name="fk_choices_programs"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_choices_runs"),
        sa.PrimaryKeyConstraint(
            "model", "model_revision", "layer", "head", "choice", name="pk_choices"
        ),
    )
    op.create_index("ix_choices_program_hash", "choices", ["program_hash"])
    op.create_table(
        "scores",
        sa.Column("program_hash", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("model_revision", sa.String(), nullable=False),
        sa.Column("layer", sa.Integer(), nullable=False),
        sa.Column("head", sa.Integer(), nullable=False),
        sa.Column("texts_sha256", sa.String(), nullable=False),
        sa.Column("split", sa.String(), nullable=False),
        sa.Column("metric_version", sa.Integer(), nullable=False),
        sa.Column("documents", sa.Integer(), nullable=False),
        sa.Column("iou", sa.Float(), nullable=False),
        sa.Column("iou_per_document", sa.JSON(), nullable=False),
        sa.Column("iou_no_sink", sa.Float()),
        sa.Column("jsd", sa.Float()),
        sa.Column("output_error", sa.Float()),
        sa.ForeignKeyConstraint(["program_hash"], ["programs.hash"], name="fk_scores_programs"),
        sa.PrimaryKeyConstraint(
            "program_hash",
            "model",
            "model_revision",
            "layer",
            "head",
            "texts_sha256",
            "split",
            "metric_version",
            name="pk_scores",
        ),
    )
    op.create_table(
        "examples",
        sa.Column("program_hash", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("model_revision", sa.String(), nullable=False),
        sa.Column("layer", sa.Integer(), nullable=False),
        sa.Column("head", sa.Integer(), nullable=False),
        sa.Column("document", sa.String(), nullable=False),
        sa.Column("tokens", sa.JSON(), nullable=False),
        sa.Column("real", sa.LargeBinary(), nullable=False),
        sa.Column("predicted", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["program_hash"], ["programs.hash"], name="fk_examples_programs"),
        sa.PrimaryKeyConstraint(
            *("program_hash", "model", "model_revision", "layer", "head", "document"),
            name="pk_examples",
        ),
    )
    op.create_table(
        "proposals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("layer", sa.Integer(), nullable=False),
        sa.Column("head", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("raw", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("program_hash", sa.String()),
        sa.Column("code", sa.String()),
        sa.Column("message", sa.String()),
        sa.Column("line", sa.Integer()),
        sa.Column("column", sa.Integer()),
        sa.Column("proposer", sa.String(), nullable=False),
        sa.Column("prompt_sha256", sa.String()),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("parents", sa.JSON(), nullable=False),
        sa.Column("tokens", sa.Integer()),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["program_hash"], ["programs.hash"], name="fk_proposals_programs"),
        sa.ForeignKeyConstraint(
            ["run_id", "layer", "head", "stage", "batch"],
            ["batches.run_id", "batches.layer", "batches.head", "batches.stage", "batches.batch"],
            name="fk_proposals_batches",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_proposals"),
    )
    op.create_index("ix_proposals_program_hash", "proposals", ["program_hash"])
    op.create_index("ix_proposals_run_head", "proposals", ["run_id", "layer", "head"])
