"""`kuploy-saas-kit explain|overview`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from kuploy_saas_kit.cli.output import instant, iso, say, say_json, table
from kuploy_saas_kit.cli.wiring import open_kit
from kuploy_saas_kit.model.limits import Unlimited
from kuploy_saas_kit.plans.decision import Decision, Layer
from kuploy_saas_kit.plans.outcomes import FeatureRow, LimitRow, OrgOverview
from kuploy_saas_kit.plans.ports import TrailEntry


def explain(parsed: argparse.Namespace) -> int:
    """Say why; 0 whatever the answer is."""
    with open_kit(parsed) as opened:
        decision = opened.kit.gate.explain(parsed.org, parsed.key)
    if parsed.json:
        say_json(decision_document(parsed.org, decision))
    else:
        say(*decision_lines(parsed.org, decision))
    return 0


def overview(parsed: argparse.Namespace) -> int:
    """List everything."""
    with open_kit(parsed) as opened:
        found = opened.kit.gate.overview(parsed.org)
        trail = opened.stores.main.trail_of(parsed.org)
    if parsed.json:
        say_json({**overview_document(found), "trail": [_entry(line) for line in trail]})
    else:
        say(*overview_lines(found), *trail_lines(trail))
    return 0


def decision_lines(org_id: str, decision: Decision) -> list[str]:
    """The answer, its layers, and who can change it."""
    answer = "granted" if decision.granted else f"refused ({decision.reason})"
    layers = [f"  {'×' if layer == decision.blocking else ' '} {layer}" for layer in decision.layers]
    return [f"{org_id} {decision.key}: {answer}", *_counts(decision), *layers, *_remedy(decision)]


def decision_document(org_id: str, decision: Decision) -> dict[str, object]:
    """The same for machines."""
    remedy = decision.remedy
    return {
        "org_id": org_id,
        "key": decision.key,
        "granted": decision.granted,
        "reason": decision.reason,
        "limit": _plain(decision.limit),
        "used": decision.used,
        "layers": [_layer(one) for one in decision.layers],
        "blocking": None if decision.blocking is None else decision.blocking.source,
        "who": None if remedy is None else remedy.who,
        "remedy": None if remedy is None else remedy.what,
    }


def overview_lines(found: OrgOverview) -> list[str]:
    """The plan, the features, the limits."""
    resolution = found.resolution
    until = "" if resolution.valid_until is None else f", until {instant(resolution.valid_until)}"
    return [
        f"{found.org_id} is on {resolution.slug or 'no plan'} ({resolution.source}{until})",
        "",
        *table(("FEATURE", "", "LICENSE", "PLAN"), map(_feature, found.features)),
        "",
        *table(("LIMIT", "USED", "OF", "UNIT", ""), map(_limit, found.limits)),
    ]


def trail_lines(trail: Sequence[TrailEntry]) -> list[str]:
    """Who gave plans by hand and took them away, oldest first; nothing where nobody did."""
    rows = [(instant(line.at), f"{line.plan} {line.kind}", line.actor, line.reason) for line in trail]
    return ["", *table(("BY HAND", "", "WHO", "WHY"), rows)] if rows else []


def overview_document(found: OrgOverview) -> dict[str, object]:
    """The same for machines."""
    return {
        "org_id": found.org_id,
        "plan": found.resolution.slug,
        "source": found.resolution.source,
        "valid_until": iso(found.resolution.valid_until),
        "features": {
            row.key: {"granted": row.granted, "in_license": row.in_license, "in_plan": row.in_plan}
            for row in found.features
        },
        "limits": {
            row.key: {"used": row.used, "limit": _plain(row.limit), "unit": row.unit, "level": row.level.name.lower()}
            for row in found.limits
        },
    }


def _counts(decision: Decision) -> list[str]:
    return [] if decision.used is None else [f"  {decision.used} of {decision.limit} used"]


def _remedy(decision: Decision) -> list[str]:
    return [] if decision.remedy is None else [f"who can lift it: {decision.remedy.who}: {decision.remedy}"]


def _layer(layer: Layer) -> dict[str, object]:
    return {
        "source": layer.source,
        "value": _plain(layer.value),
        "version": layer.version,
        "age_seconds": None if layer.age is None else int(layer.age.total_seconds()),
        "status": layer.status,
    }


def _entry(line: TrailEntry) -> dict[str, object]:
    return {
        "kind": line.kind,
        "plan": line.plan,
        "actor": line.actor,
        "reason": line.reason,
        "at": iso(line.at),
        "until": iso(line.until),
    }


def _plain(value: bool | int | Unlimited | None) -> bool | int | str | None:  # noqa: FBT001 - a layer's value
    return str(value) if isinstance(value, Unlimited) else value


def _feature(row: FeatureRow) -> tuple[str, str, str, str]:
    return row.key, "granted" if row.granted else "refused", _yes(row.in_license), _yes(row.in_plan)


def _limit(row: LimitRow) -> tuple[str, str, str, str, str]:
    over = f"over by {row.over_by}" if row.over_by else ""
    return row.key, str(row.used), str(row.limit), row.unit, over


def _yes(applies: bool) -> str:  # noqa: FBT001 - it is what is written
    return "yes" if applies else "no"
