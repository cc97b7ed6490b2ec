"""What the code of a sync that failed means, and what to do. Pure."""

from __future__ import annotations

from typing import Final

_WAIT: Final = "the hub has trouble; it is tried again by itself"
_BY_CODE: Final = {
    "no_license_key": "there is no license key: run `kuploy-saas-kit license claim`, or set LICENSE_KEY",
    "store.unavailable": "the store cannot be read: run `kuploy-saas-kit store check`",
    "transport.dns": "the hub's name is not found: check LICENSE_HUB_URL and the name servers of this machine",
    "transport.tls": "the hub's certificate is refused: check this machine's clock and certificates, and the proxy",
    "transport.connect": "the hub cannot be reached: check network, firewall and LICENSE_HUB_URL",
    "transport.timeout": "the hub is too slow or out of reach: check network and firewall",
    "transport.deadline": "the hub is too slow or out of reach: check network and firewall",
    "http.redirect": "the hub redirects, which is not followed: set LICENSE_HUB_URL to where it really is",
    "http.429": "the hub asks to wait; it is tried again by itself",
    "sig.unknown_kid": "the hub signs with a key that is not trusted: add its new key to LICENSE_TRUSTED_KEYS",
    "sig.unverifiable": "signatures cannot be checked: pip install 'kuploy-saas-kit[signing]'",
    "payload.not_token": "the answer is no signed license: is a login page in between, or LICENSE_HUB_URL wrong?",
    "payload.held": "the hub took everything away without a reason: it is asked again before that counts",
    "replay.rollback": "the hub sent an older license than the one held: tell its operator",
    "replay.equivocation": "the hub said two different things under one revision: tell its operator",
    "license_not_found": "the hub does not know the license key: check LICENSE_KEY, or claim the license again",
    "auth_rejected": "the hub refuses the license key: check LICENSE_KEY, or claim the license again",
    "instance_limit_reached": "the license has no seat left: remove an instance at the hub, or upgrade there",
    "license_suspended": "the license is suspended: settle it at the hub",
    "license_revoked": "the license is revoked: get a new one at the hub",
    "product_not_entitled": "the license is not for this product: check LICENSE_PRODUCT_TYPE",
}
_BY_FAMILY: Final = {
    "transport": "the exchange with the hub broke off; it is tried again by itself",
    "http": _WAIT,
    "sig": "the answer is not signed as it must be: is a proxy in between, or LICENSE_HUB_URL wrong?",
    "payload": "the answer is no license: is a proxy or a login page in between, or LICENSE_HUB_URL wrong?",
    "bind": "the answer is for somebody else: check LICENSE_KEY, LICENSE_INSTANCE_ID and LICENSE_PRODUCT_TYPE",
    "cache": "what is stored does not count; the next sync replaces it",
}


def mend_of(code: str, hub_code: str | None = None) -> str:
    """What to do about *code*; what the hub said itself goes first."""
    for known in (hub_code, code):
        if known in _BY_CODE:
            return _BY_CODE[known]
    return _BY_FAMILY.get(code.partition(".")[0], _WAIT)
