"""Where the tables are, by the settings of the host."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final

from django.conf import settings

from kuploy_saas_kit.adapters.sql.layout import SqlLayout
from kuploy_saas_kit.errors import ConfigurationError

SETTING: Final = "KUPLOY_SAAS_LAYOUT"
_FIELDS: Final = frozenset(field.name for field in fields(SqlLayout))


def layout_of_settings() -> SqlLayout:
    """The layout in `settings.KUPLOY_SAAS_LAYOUT`, a dict of `SqlLayout`'s arguments; the standard one without it."""
    chosen: dict[str, Any] = getattr(settings, SETTING, {})
    unknown = sorted(set(chosen) - _FIELDS)
    if unknown:
        raise ConfigurationError(f"settings.{SETTING} has {', '.join(unknown)}: it takes {', '.join(sorted(_FIELDS))}")
    return SqlLayout(**chosen)
