"""Every score of each document, so that all have intervals; the damage of one head.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for name in ("iou_no_sink_per_document", "jsd_per_document", "output_error_per_document"):
        op.add_column("scores", sa.Column(name, sa.JSON()))
    op.add_column("scores", sa.Column("damage", sa.Float()))
