"""The nine steps of a tenant's story, each with what must be true at its end."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace as replaced
from datetime import timedelta
from typing import Final

from kuploy_saas_kit.cli.demo.report import Reporter
from kuploy_saas_kit.cli.demo.shop import products_and_prices
from kuploy_saas_kit.cli.demo.stage import BUSINESS, CATALOG, PRO, WEBHOOK_SECRET, Stage
from kuploy_saas_kit.errors import CeilingExceededError
from kuploy_saas_kit.license import LicenseStatus, Operation
from kuploy_saas_kit.plans import KUPLOY_CLOUD, Plan, PlanSource, Price, Reason, require_within_ceiling

_PERIOD: Final = timedelta(seconds=60)
_POLL: Final = timedelta(seconds=6)
_GROWTH: Final = KUPLOY_CLOUD.tiers["growth"]
_HOBBY: Final = KUPLOY_CLOUD.tiers["hobby"]


def claim_a_license(stage: Stage, tell: Reporter) -> None:
    """An instance without a license is linked with a claim code."""
    kit = stage.kit
    kit.run_once()
    tell.check("the instance is UNLICENSED", held=kit.license.snapshot().status is LicenseStatus.UNLICENSED)
    creating, running = kit.gate.check_operation(Operation.CREATE), kit.gate.check_operation(Operation.RUN)
    tell.note(creating)
    tell.check("creating is blocked", held=creating.reason is Reason.NO_LICENSE)
    tell.check("what runs is not", held=running.granted)
    ticket = kit.license.begin_claim()
    tell.note(f"claim code {ticket.code}, to be entered at the hub until {ticket.expires_at:%H:%M} UTC")
    tell.check("the hub waits for the tenant", held=kit.license.poll_claim().status == "pending")
    stage.tenant_id = stage.hub.add_tenant("Acme Hosting")
    stage.license_key = stage.hub.issue_license(stage.tenant_id, tier="growth")
    stage.hub.set_catalog(stage.tenant_id, CATALOG)
    stage.hub.approve_claim(ticket.code, stage.license_key)
    stage.pass_time(_POLL)
    state = kit.license.poll_claim()
    tell.note(f"the tenant {state.tenant_name!r} approved the code; the operator confirms the name")
    tell.check("polling brings the approval", held=state.status == "approved" and state.tenant_name == "Acme Hosting")
    result = kit.license.confirm_claim()
    tell.check("the license key works at once", held=result.ok)


def sync_the_license(stage: Stage, tell: Reporter) -> None:
    """The first run verifies, stores and upserts."""
    stage.pass_time(_PERIOD)
    report = stage.kit.run_once()
    snapshot = stage.kit.license.snapshot()
    tell.note(f"{snapshot!r}, trust {snapshot.trust}")
    tell.check("the sync succeeded", held=report.sync.ok)
    tell.check(
        "the license is ACTIVE, verified with a pinned key", held=_is_active(stage) and snapshot.trust == "pinned"
    )
    tell.check("it grants what Growth grants", held=snapshot.grant == _GROWTH)
    stored = stage.stores.license.load_license()
    tell.check(f"it is stored in {stage.place.name}", held=stored is not None and stored.revision == snapshot.revision)
    catalog = stage.store.load_plans().catalog
    for plan in catalog or ():
        tell.note(
            f"cloud_plans: {plan.slug:<9} {plan.name:<9} {plan.price or 'no price'}{' (default)' * plan.is_default}"
        )
    tell.check("cloud_plans has the three plans of the hub's catalog", held=catalog == CATALOG)


def provision_stripe(stage: Stage, tell: Reporter) -> None:
    """The operator enters Stripe keys; the catalog becomes Products and Prices."""
    stage.keys = stage.shop.keys(WEBHOOK_SECRET)
    catalog = stage.store.load_plans().catalog or CATALOG
    diff = stage.kit.provisioner.diff(catalog, revision=stage.store.load_plans().revision)
    tell.note(f"what a run would do at {stage.shop.name}:")
    tell.note("\n".join(f"  {change}" for change in diff))
    report = stage.kit.run_once().provision
    tell.check("the run did exactly that", held=report is not None and _same_kinds(report.changes, diff))
    products, prices = products_and_prices(stage.kit.gateway, stage.kit.namespace)
    tell.note(", ".join(f"{price.amount} {price.currency} each {price.interval}" for price in prices))
    tell.check("there are two Products and two Prices", held=(len(products), len(prices)) == (2, 2))
    mappings = stage.store.load_mappings(stage.kit.gateway.space())
    tell.check("none is for the default plan", held=set(mappings) == {PRO.slug, BUSINESS.slug})
    before = stage.shop.calls()
    again = stage.kit.run_once().provision
    tell.check("a second run changes nothing", held=again is not None and not again.changes)
    if before is not None:
        tell.check("and makes no call", held=stage.shop.calls() == before)


def sell_a_plan(stage: Stage, tell: Reporter) -> None:
    """An org signs up, pays, and the webhooks arrive twice and in the wrong order."""
    kit = stage.kit
    stage.shop.listen(stage.serve_webhooks(), WEBHOOK_SECRET)
    kit.gate.require_operation(Operation.CREATE)
    signed_up = kit.gate.resolve_plan("acme")
    tell.check(
        "acme begins on the default plan", held=(signed_up.slug, signed_up.source) == ("free", PlanSource.DEFAULT)
    )
    session = kit.checkout.start("acme", "pro", success_url="https://example.com/ok", cancel_url="https://example.com/")
    tell.note(f"checkout for Pro: {session.url[:60]}")
    stage.shop.pay(session)
    answers = stage.shop.deliver()
    if answers is None:
        kit.webhooks.sync_org("acme")
    else:
        tell.note(f"{len(answers)} deliveries, answered {sorted(set(map(str, answers)))}")
        tell.check("every delivery is answered 200", held=bool(answers) and set(answers) == {200})
    row = stage.store.standing("acme").subscription
    tell.check(
        "acme's subscription is Pro and active", held=row is not None and (row.plan, row.status) == ("pro", "active")
    )
    tell.check("acme is on Pro", held=kit.gate.resolve_plan("acme").source is PlanSource.SUBSCRIPTION)


def compose_features(stage: Stage, tell: Reporter) -> None:
    """A feature needs the license and the plan; Internal has the license's."""
    gate = stage.kit.gate
    tell.check("aiAssistant: Growth and Pro grant it, acme has it", held=gate.allows("acme", "aiAssistant"))
    in_plan = gate.explain("acme", "multiServer")
    tell.note(in_plan)
    tell.check("multiServer: Growth grants it, Pro does not", held=in_plan.reason is Reason.NOT_IN_PLAN)
    tell.check("aiAssistant: an org on Free lacks it", held=not gate.allows("newcomer", "aiAssistant"))
    gold = Plan("gold", "Gold", Price(9900, "cad"), {"aiAssistant", "whiteLabel"})
    tell.check("whiteLabel is refused at edit time under Growth", held=_is_refused(stage, gold, tell))
    gate.assign("lab", "internal", actor="demo", reason="the operator's own org")
    features = gate.entitlements("lab").features
    tell.note(f"Internal: {', '.join(sorted(_GROWTH.features))}")
    tell.check("an Internal org has exactly Growth's features", held=features == _GROWTH.features)


def race_for_projects(stage: Stage, tell: Reporter) -> None:
    """Eight threads, five places."""
    with ThreadPoolExecutor(8) as pool:
        decisions = list(pool.map(lambda _: stage.kit.gate.acquire("acme", "maxProjects"), range(8)))
    refused = [decision for decision in decisions if not decision.granted]
    tell.note(refused[0] if refused else "nobody was refused")
    tell.check("exactly 5 of 8 succeed", held=len(decisions) - len(refused) == 5)
    tell.check("the others reached the limit", held={one.reason for one in refused} == {Reason.LIMIT_REACHED})
    tell.check("the counter says 5", held=stage.stores.usage.usage_of("acme").get("maxProjects") == 5)


def change_a_price(stage: Stage, tell: Reporter) -> None:
    """The price of Pro goes up at the hub; those who pay keep theirs."""
    space = stage.kit.gateway.space()
    old = stage.store.load_mappings(space)["pro"].price_id
    stage.hub.put_plan(stage.tenant_id, _priced(PRO, 2500))
    stage.pass_time(_PERIOD)
    report = stage.kit.run_once().provision
    tell.note(report)
    new = stage.store.load_mappings(space)["pro"].price_id
    row = stage.store.standing("acme").subscription
    remote = None if row is None else stage.kit.gateway.subscription(row.subscription_id)
    _, prices = products_and_prices(stage.kit.gateway, stage.kit.namespace)
    tell.check("new checkouts get a new Price", held=new != old and new in {price.id for price in prices})
    tell.check("the old one is archived", held=old not in {price.id for price in prices})
    paid = [] if remote is None else [item.price_id for item in remote.items]
    tell.check(
        "acme keeps the old one, and Pro", held=paid == [old] and stage.kit.gate.resolve_plan("acme").slug == "pro"
    )


def live_through_an_outage(stage: Stage, tell: Reporter) -> None:
    """The hub goes down, the process restarts, time passes, the hub returns."""
    stage.hub.outage("refused")
    stage.restart()
    stage.kit.license.load()
    tell.check(
        f"a restarted process answers from {stage.place.name} at once", held=_is_active(stage) and _has_ai(stage)
    )
    stages = [
        (timedelta(minutes=4), LicenseStatus.STALE, True),
        (timedelta(days=1), LicenseStatus.GRACE, True),
        (timedelta(days=6), LicenseStatus.EXPIRED, False),
    ]
    for step, status, may_create in stages:
        stage.pass_time(step)
        sync = stage.kit.run_once().sync
        tell.note(f"{stage.clock.now():%d %b %H:%M}: sync {sync.code}, {stage.kit.license.snapshot().status.name}")
        tell.check(f"{status.name}: {_creating(may_create)}, running goes on", held=_stands(stage, status, may_create))
    stage.hub.outage(None)
    stage.pass_time(_PERIOD)
    stage.kit.run_once()
    tell.check(
        "the hub returns: ACTIVE", held=_is_active(stage) and stage.kit.gate.check_operation(Operation.CREATE).granted
    )


def downgrade(stage: Stage, tell: Reporter) -> None:
    """The tenant goes to Hobby; every org is clamped and nothing is deleted."""
    stage.hub.change_tier(stage.license_key, "hobby")
    stage.pass_time(_PERIOD)
    stage.kit.run_once()
    gate = stage.kit.gate
    tell.check("the license is Hobby", held=stage.kit.license.snapshot().grant == _HOBBY)
    tell.check(
        "no org has aiAssistant any more",
        held=not (gate.allows("acme", "aiAssistant") or gate.allows("lab", "aiAssistant")),
    )
    for row in gate.overview("acme").over_limit:
        tell.note(f"acme is over {row.label.lower()}: {row.used} of {row.limit}, {row.over_by} too many")
    over = [(row.key, row.over_by) for row in gate.overview("acme").over_limit]
    tell.check("the report says who is over which limit", held=over == [("maxProjects", 4)])
    tell.check("creating is refused", held=not gate.acquire("acme", "maxProjects").granted)
    kept = stage.stores.usage.usage_of("acme").get("maxProjects"), stage.store.load_plans().catalog
    tell.check("nothing is deleted", held=kept[0] == 5 and kept[1] is not None and len(kept[1]) == len(CATALOG))
    released = gate.release("acme", "maxProjects").returned
    tell.check("deleting works", held=released == {"maxProjects": 1})


Step = Callable[[Stage, Reporter], None]

STORY: Final[tuple[tuple[str, Step], ...]] = (
    ("An instance without a license is claimed", claim_a_license),
    ("The first sync brings license and plans", sync_the_license),
    ("The plans become Products and Prices", provision_stripe),
    ("An org buys a plan", sell_a_plan),
    ("Features need license and plan", compose_features),
    ("Eight threads race for five projects", race_for_projects),
    ("A price changes at the hub", change_a_price),
    ("The hub is down for a week", live_through_an_outage),
    ("The tenant downgrades", downgrade),
)


def _is_active(stage: Stage) -> bool:
    return stage.kit.license.snapshot().status is LicenseStatus.ACTIVE


def _has_ai(stage: Stage) -> bool:
    return stage.kit.gate.allows("acme", "aiAssistant")


def _creating(may_create: bool) -> str:  # noqa: FBT001 - a word for a truth
    return "creating is permitted" if may_create else "creating stops"


def _stands(stage: Stage, status: LicenseStatus, may_create: bool) -> bool:  # noqa: FBT001 - what must be true
    gate = stage.kit.gate
    creating, running = gate.check_operation(Operation.CREATE), gate.check_operation(Operation.RUN)
    is_status = stage.kit.license.snapshot().status is status
    return is_status and creating.granted is may_create and running.granted and _has_ai(stage)


def _same_kinds(done: tuple[object, ...], planned: tuple[object, ...]) -> bool:
    return [type(change) for change in done] == [type(change) for change in planned]


def _is_refused(stage: Stage, plan: Plan, tell: Reporter) -> bool:
    try:
        require_within_ceiling(plan, stage.kit.license.snapshot().grant)
    except CeilingExceededError as error:
        tell.note(error)
        return True
    return False


def _priced(plan: Plan, amount: int) -> Plan:
    price = replaced(plan.price, amount=amount) if plan.price is not None else None
    return Plan(plan.slug, plan.name, price, plan.features, plan.limits, description=plan.description)
