"""The first tables."""

from __future__ import annotations

from django.db import migrations

from kuploy_saas_kit.adapters.django.operation import KitTables


class Migration(migrations.Migration):
    """Revision 0001 of the kit's tables."""

    initial = True
    dependencies = ()
    operations = (KitTables("0001"),)
