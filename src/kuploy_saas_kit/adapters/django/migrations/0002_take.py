"""The digest of the stored catalog, and PostgreSQL's function that takes all claims or none."""

from __future__ import annotations

from django.db import migrations

from kuploy_saas_kit.adapters.django.operation import KitTables


class Migration(migrations.Migration):
    """Revision 0002 of the kit's tables."""

    dependencies = (("kuploy_saas_kit", "0001_tables"),)
    operations = (KitTables("0002"),)
