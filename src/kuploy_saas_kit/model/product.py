"""What a product can gate: its features and limits, their units and aliases, and the tiers of its licenses.

Tier tables of kuploy-cloud: the public pages of Kuploy, "Concepts & Architecture" and "Licensing".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeVar

from kuploy_saas_kit.errors import NeverGateKeyError, UnknownKeyError
from kuploy_saas_kit.model.entitlements import Entitlements
from kuploy_saas_kit.model.features import AllFeatures
from kuploy_saas_kit.model.grant import LicenseGrant
from kuploy_saas_kit.model.limits import UNLIMITED, LimitValue
from kuploy_saas_kit.model.plan import Plan


class LimitKind(StrEnum):
    """How the use of a limit comes about."""

    GAUGE = "gauge"
    """Counted one by one: acquired and released."""
    MEASURED = "measured"
    """Measured as a whole now and then, such as storage."""
    METER = "meter"
    """Adds up within a period and begins again, such as build minutes."""


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """A feature of a product: its wire key, a label for people, and other spellings found in payloads."""

    key: str
    label: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LimitSpec:
    """A limit of a product.

    *base_units* is how many base units (in which use is recorded) make one unit of the limit: 60 seconds make a
    build minute. Taking stops at *hard_stop_percent* of the limit, rounded down. What is *hub_enforced* has no
    counter of the whole instance.
    """

    key: str
    label: str
    kind: LimitKind = LimitKind.GAUGE
    unit: str = "count"
    base_units: int = 1
    hard_stop_percent: int = 100
    hub_enforced: bool = False
    aliases: tuple[str, ...] = ()


_Spec = TypeVar("_Spec", FeatureSpec, LimitSpec)


@dataclass(frozen=True, slots=True)
class UnknownKey:
    """A key that a payload or a plan has and the schema does not: kept, and off until the schema knows it."""

    kind: str
    key: str
    where: str

    def __str__(self) -> str:
        return f"{self.where} names the {self.kind} {self.key!r}, which this product does not have; it stays off"


@dataclass(frozen=True, slots=True)
class ProductSchema:
    """The keys of one product. `with_keys` makes a host's own from a shipped one.

    *known* grants all of them and nothing else: what is met with it has no unknown key.
    """

    product_type: str
    features: Mapping[str, FeatureSpec]
    limits: Mapping[str, LimitSpec]
    required_limits: frozenset[str] = frozenset()
    never_gate: frozenset[str] = frozenset()
    tiers: Mapping[str, LicenseGrant] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(init=False, repr=False, compare=False)
    known: Entitlements = field(init=False, repr=False, compare=False)
    _plain_features: frozenset[str] = field(init=False, repr=False, compare=False)
    _plain_limits: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        specs: tuple[FeatureSpec | LimitSpec, ...] = (*self.features.values(), *self.limits.values())
        aliases = {alias: spec.key for spec in specs for alias in spec.aliases}
        object.__setattr__(self, "aliases", MappingProxyType(aliases))
        object.__setattr__(self, "known", Entitlements(self.features, dict.fromkeys(self.limits, UNLIMITED)))
        special = self.never_gate.union(aliases)
        object.__setattr__(self, "_plain_features", frozenset(self.features) - special)
        object.__setattr__(self, "_plain_limits", frozenset(self.limits) - special)

    def canonical(self, key: str) -> str:
        """The wire spelling of *key*; a key without an alias is its own."""
        return self.aliases.get(key, key)

    def feature(self, key: str) -> FeatureSpec:
        """The feature that *key* or an alias names; `UnknownKeyError` or `NeverGateKeyError` otherwise."""
        self.check_may_gate(key)
        spec = self.features.get(self.canonical(key))
        if spec is None:
            raise UnknownKeyError(_unknown("feature", key, self.product_type, self.features))
        return spec

    def limit(self, key: str) -> LimitSpec:
        """The limit that *key* or an alias names; `UnknownKeyError` or `NeverGateKeyError` otherwise."""
        self.check_may_gate(key)
        spec = self.limits.get(self.canonical(key))
        if spec is None:
            raise UnknownKeyError(_unknown("limit", key, self.product_type, self.limits))
        return spec

    def check_may_gate(self, key: str) -> None:
        """Raise `NeverGateKeyError` for what must stay reachable whatever the license says."""
        if key in self.never_gate:
            raise NeverGateKeyError(f"{key!r} must never be gated: it stays reachable without a license or a plan")

    def has_plainly(self, features: Collection[str], limits: Collection[str]) -> bool:
        """Whether all these keys are known and spelled as the wire spells them, and none is a never-gate key."""
        return self._plain_features.issuperset(features) and self._plain_limits.issuperset(limits)

    def check_plan(self, plan: Plan) -> tuple[UnknownKey, ...]:
        """The keys of *plan* that this product does not have; a never-gate key among them is refused."""
        features: Collection[str] = () if isinstance(plan.features, AllFeatures) else plan.features
        if self.has_plainly(features, plan.limits):
            return ()
        for key in sorted(self.never_gate.intersection((*features, *plan.limits))):
            self.check_may_gate(key)
        return self.unknown_keys(sorted(features), plan.limits, where=f"plan {plan.slug}")

    def normalised(self, plan: Plan) -> Plan:
        """*plan* with every key in its wire spelling. Of a limit that is named twice the smaller one counts."""
        if isinstance(plan.features, AllFeatures):
            return plan
        limits: dict[str, LimitValue] = {}
        for key, value in plan.limits.items():
            canonical = self.canonical(key)
            limits[canonical] = min(value, limits.get(canonical, value))
        return Plan(
            plan.slug,
            plan.name,
            plan.price,
            {self.canonical(key) for key in plan.features},
            limits,
            is_default=plan.is_default,
            is_active=plan.is_active,
            description=plan.description,
        )

    def unknown_keys(self, features: Collection[str], limits: Collection[str], *, where: str) -> tuple[UnknownKey, ...]:
        """What of *features* and *limits* the schema lacks."""
        if self.has_plainly(features, limits):
            return ()
        unknown = [UnknownKey("feature", key, where) for key in features if self.canonical(key) not in self.features]
        unknown += [UnknownKey("limit", key, where) for key in limits if self.canonical(key) not in self.limits]
        return tuple(unknown)

    def with_keys(self, *, features: Iterable[FeatureSpec] = (), limits: Iterable[LimitSpec] = ()) -> ProductSchema:
        """This schema and more keys of the host's own."""
        return replace(
            self,
            features=_by_key((*self.features.values(), *features)),
            limits=_by_key((*self.limits.values(), *limits)),
        )


def _unknown(kind: str, key: str, product: str, known: Iterable[str]) -> str:
    return f"{product} has no {kind} {key[:64]!r}; it has {', '.join(sorted(known))}"


def _by_key(specs: Iterable[_Spec]) -> Mapping[str, _Spec]:
    return MappingProxyType({spec.key: spec for spec in specs})


_NEVER_GATE: Final = frozenset({"login", "billing", "export", "license", "licensePage"})

_FEATURES: Final = (
    FeatureSpec("customDomains", "Custom domains"),
    FeatureSpec("aiAssistant", "AI assistant"),
    FeatureSpec("multiServer", "Multiple servers"),
    FeatureSpec("prioritySupport", "Priority support"),
    FeatureSpec("whiteLabel", "White label", aliases=("whitelabel", "white-label", "white_label")),
    FeatureSpec("domainPurchase", "Domain purchase"),
    FeatureSpec("paymentGateway", "Payment collection", aliases=("payment-gateway", "payment_gateway")),
)

_LIMITS: Final = (
    LimitSpec("maxProjects", "Projects"),
    LimitSpec("maxApps", "Apps"),
    LimitSpec("maxDatabases", "Databases"),
    LimitSpec("maxTeamMembers", "Team members"),
    LimitSpec("maxDomains", "Domains"),
    LimitSpec("maxCustomDomains", "Custom domains"),
    LimitSpec("maxFreeSubdomains", "Free subdomains"),
    LimitSpec("maxPurchasableDomains", "Purchasable domains"),
    LimitSpec("maxInstances", "Instances", hub_enforced=True),
    LimitSpec("maxMailboxes", "Mailboxes"),
    LimitSpec("maxStorageBytes", "Storage", kind=LimitKind.MEASURED, unit="bytes"),
    LimitSpec(
        "buildMinutesPerMonth",
        "Build minutes",
        kind=LimitKind.METER,
        unit="minutes",
        base_units=60,
        hard_stop_percent=110,
    ),
)

# The rows of the public tier table, in its order.
_TIER_LIMITS: Final = (
    "maxProjects",
    "maxApps",
    "maxDatabases",
    "maxCustomDomains",
    "maxFreeSubdomains",
    "maxPurchasableDomains",
    "maxTeamMembers",
    "buildMinutesPerMonth",
    "maxStorageBytes",
    "maxInstances",
)
_GB: Final = 10**9
_NO_CAP: Final = UNLIMITED
_GROWTH: Final = ("customDomains", "aiAssistant", "multiServer")
_BUSINESS: Final = (*_GROWTH, "prioritySupport", "paymentGateway")
_ENTERPRISE: Final = (*_BUSINESS, "whiteLabel", "domainPurchase")


def _tier(name: str, features: Iterable[str], *limits: LimitValue) -> LicenseGrant:
    return LicenseGrant(name, features, dict(zip(_TIER_LIMITS, limits, strict=True)))


KUPLOY_CLOUD: Final = ProductSchema(
    product_type="kuploy-cloud",
    features=_by_key(_FEATURES),
    limits=_by_key(_LIMITS),
    required_limits=frozenset(_TIER_LIMITS),
    never_gate=_NEVER_GATE,
    tiers=MappingProxyType(
        {
            "hobby": _tier("hobby", (), 1, 2, 1, 0, 1, 0, 1, 100, 5 * _GB, 1),
            "starter": _tier("starter", ("customDomains",), 5, 15, 5, 3, 2, 0, 5, 500, 50 * _GB, 1),
            "growth": _tier("growth", _GROWTH, 20, 50, 25, 10, 5, 0, 20, 2_000, 250 * _GB, 1),
            "business": _tier("business", _BUSINESS, 50, 150, 75, 50, 10, 0, 50, 5_000, 1_000 * _GB, 3),
            "enterprise": _tier("enterprise", _ENTERPRISE, *[_NO_CAP] * 7, 10_000, 2_000 * _GB, _NO_CAP),
        }
    ),
)
"""kuploy-cloud: the documented features, limits and tiers. Build minutes stop at 110 %; storage is in bytes."""

LEERAM_BUSINESS: Final = ProductSchema(
    product_type="leeram-business",
    features=_by_key(spec for spec in _FEATURES if spec.key in {"whiteLabel", "paymentGateway", "customDomains"}),
    limits=_by_key(spec for spec in _LIMITS if spec.key in {"maxTeamMembers", "maxStorageBytes", "maxInstances"}),
    never_gate=_NEVER_GATE,
    tiers=MappingProxyType(
        {
            "solo": LicenseGrant("solo"),
            "studio": LicenseGrant("studio", {"paymentGateway"}),
            "agency": LicenseGrant("agency", {"paymentGateway", "customDomains", "whiteLabel"}),
            "reseller": LicenseGrant("reseller", {"paymentGateway", "customDomains", "whiteLabel"}),
        }
    ),
)
"""leeram-business: its tier names are public, its keys are not; a host adds its own with `with_keys`.

The features of its tiers are a starting point for tests; in production the license says what is granted.
"""

SCHEMAS: Final[Mapping[str, ProductSchema]] = MappingProxyType(
    {schema.product_type: schema for schema in (KUPLOY_CLOUD, LEERAM_BUSINESS)}
)
"""The shipped schemas by product type."""
