"""What things are called at Stripe: product ids, lookup keys, ownership marks, fingerprints.

Names are functions of the plan alone. So a process without memory finds what another one made, two replicas make
the same object and not two, and a price that changes and changes back is the old price again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Final

from kuploy_saas_kit.errors import ConfigurationError
from kuploy_saas_kit.model.money import BillingCycle, Price
from kuploy_saas_kit.model.plan import Plan

DEFAULT_NAMESPACE: Final = "kuploy"
"""The namespace where no license or instance gives one."""

MARK: Final = "kuploy-saas-kit"
ALGORITHM: Final = "1"
"""Part of each fingerprint: raised when the kit begins to want other objects for the same plans."""

MANAGED_BY: Final = "managed_by"
NAMESPACE: Final = "kuploy_ns"
PLAN: Final = "kuploy_plan"
REVISION: Final = "kuploy_rev_"
ORG: Final = "org_id"
INSTEAD_OF: Final = "kuploy_instead_of"

_INTERVALS: Final = {BillingCycle.MONTHLY: "month", BillingCycle.ANNUAL: "year"}
_PLAIN_SLUG: Final = re.compile(r"[a-z0-9_-]{1,60}")
_NAMESPACE: Final = re.compile(r"[a-z0-9-]{1,40}")


def namespace_for(seed: str) -> str:
    """A namespace for a license or instance, so that two of them in one Stripe account do not fight."""
    return f"{DEFAULT_NAMESPACE}-{_digest(seed)[:8]}"


def checked_namespace(namespace: str) -> str:
    """*namespace* as it is, or `ConfigurationError`: it begins every product id and must never be cut or escaped."""
    if not _NAMESPACE.fullmatch(namespace):
        raise ConfigurationError("a Stripe namespace is 1 to 40 of the characters a-z, 0-9 and '-'")
    return namespace


def product_prefix(namespace: str) -> str:
    """What the ids of all products of *namespace* begin with."""
    return f"{namespace}_"


def key_prefix(namespace: str) -> str:
    """What all lookup keys of *namespace* begin with."""
    return f"{namespace}:"


def product_id(namespace: str, slug: str) -> str:
    """The id of the plan's Product, the same in test and live mode and for ever."""
    return product_prefix(namespace) + _short(slug)


def interval_of(price: Price) -> str:
    """Stripe's word for the billing cycle."""
    return _INTERVALS[price.cycle]


def lookup_key(namespace: str, slug: str, price: Price) -> str:
    """The key of the plan's Price, under 200 characters: it names the content, so another amount is another key."""
    terms = {
        "product": product_id(namespace, slug),
        "unit_amount": price.amount,
        "currency": price.currency,
        "interval": interval_of(price),
        "interval_count": 1,
        "usage_type": "licensed",
    }
    return ":".join((namespace, _short(slug), interval_of(price), price.currency, _digest(_canonical(terms))[:16]))


def product_metadata(
    namespace: str, slug: str, revision: int | None = None, *, seen: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The ownership mark of a Product, with the catalog revision that it is written for in place of those *seen*.

    Each revision is a key of its own, since Stripe merges metadata by key: whoever writes at the same time unwrites
    no higher one.
    """
    marks = price_metadata(namespace, slug)
    if revision is None:
        return marks
    outdated = {key: "" for key in seen or {} if _revision_of(key) < revision and key.startswith(REVISION)}
    return {**marks, **outdated, f"{REVISION}{revision}": "1"}


def price_metadata(namespace: str, slug: str) -> dict[str, str]:
    """The ownership mark of a Price."""
    return {MANAGED_BY: MARK, NAMESPACE: namespace, PLAN: slug}


def org_metadata(namespace: str, org_id: str) -> dict[str, str]:
    """What ties a Customer, a Session or a Subscription to an org. Only the server writes it; buyers cannot."""
    return {MANAGED_BY: MARK, NAMESPACE: namespace, ORG: org_id}


def customer_digest(space: str, org_id: str, fields: Mapping[str, object]) -> str:
    """The same for two processes that make the customer of one org at the same time; others where the fields differ."""
    return _digest(_canonical([space, org_id, fields]))[:32]


def is_ours(metadata: Mapping[str, str], namespace: str) -> bool:
    """Whether an object carries the mark of this namespace."""
    return metadata.get(MANAGED_BY) == MARK and metadata.get(NAMESPACE) == namespace


def is_foreign(metadata: Mapping[str, str], namespace: str) -> bool:
    """Whether an object carries the mark of another namespace: another instance in the same account looks after it."""
    return metadata.get(MANAGED_BY) == MARK and metadata.get(NAMESPACE) != namespace


def written_revision(metadata: Mapping[str, str]) -> int:
    """The highest catalog revision that a Product was written for; 0 where none is written."""
    return max(map(_revision_of, metadata), default=0)


def _revision_of(key: str) -> int:
    text = key.removeprefix(REVISION)
    return int(text) if key != text and text.isascii() and text.isdigit() else 0


def plan_fingerprint(namespace: str, plan: Plan) -> str:
    """Tells whether what is wanted of Stripe for this plan has changed. Rights and limits are no part of it."""
    key = lookup_key(namespace, plan.slug, plan.price) if plan.is_billable and plan.price else ""
    return _digest(_canonical([ALGORITHM, namespace, plan.slug, plan.name, plan.description, key]))[:32]


def catalog_fingerprint(fingerprints: Iterable[str], revision: int | None) -> str:
    """Tells whether anything is to be done at Stripe for a catalog. The order of plans does not count."""
    return _digest(_canonical([sorted(fingerprints), revision]))[:32]


def _short(slug: str) -> str:
    if _PLAIN_SLUG.fullmatch(slug):
        return slug
    readable = re.sub(r"[^a-z0-9_-]+", "-", slug.lower()).strip("-")[:40]
    return f"{readable}-{_digest(slug)[:8]}"


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
