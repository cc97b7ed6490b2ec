"""In PostgreSQL 64 bits for the limits of a `cloud_plans` that was there before, and a trail that numbers itself."""

from __future__ import annotations

from django.db import migrations

from kuploy_saas_kit.adapters.django.operation import KitTables


class Migration(migrations.Migration):
    """Revision 0003 of the kit's tables."""

    dependencies = (("kuploy_saas_kit", "0002_take"),)
    operations = (KitTables("0003"),)
