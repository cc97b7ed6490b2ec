"""The Django app: it has migrations and no models."""

from __future__ import annotations

from django.apps import AppConfig


class KuploySaasKit(AppConfig):
    """Makes `manage.py migrate` make the kit's tables."""

    name = "kuploy_saas_kit.adapters.django"
    label = "kuploy_saas_kit"
    verbose_name = "Kuploy SaaS kit"
