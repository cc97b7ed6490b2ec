import pickle
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from tests.license.doubles import KEY, SIGNER

from kuploy_saas_kit.errors import ConfigurationError
from kuploy_saas_kit.license import LicenseConfig, Trust, TrustedKey
from kuploy_saas_kit.model.product import KUPLOY_CLOUD, ProductSchema

KEYS = {"k1": SIGNER.public}


def test_a_good_configuration_is_normalized() -> None:
    """Keys become values, the secret is masked, the trust mode follows from the keys."""
    config = LicenseConfig(license_key=KEY, trusted_keys=KEYS, hub_url="https://hub.example/base/")
    assert (config.trust, config.hub_url) == (Trust.PINNED, "https://hub.example/base")
    assert config.key == SecretStr(KEY)
    assert config.keys == {"k1": TrustedKey(SIGNER.public)}
    assert config.expected_issuer == "https://hub.example"
    assert config.product_schema is KUPLOY_CLOUD
    assert KEY not in repr(config)


def test_a_configuration_is_not_to_be_pickled() -> None:
    """The license key does not end up in a pickle."""
    with pytest.raises(TypeError, match="license key"):
        pickle.dumps(LicenseConfig(license_key=KEY, trusted_keys=KEYS))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"license_key": "KPXY-4829"}, "must begin with 'lic_'"),
        ({"license_key": "lic_a b"}, "have no spaces"),
        ({"license_key": "lic_a\r\nX: y"}, "have no spaces"),
        ({"trusted_keys": {}}, "LICENSE_TRUSTED_KEYS"),
        ({"trusted_keys": {}, "trust": "pinned"}, "needs the hub's public keys"),
        ({"trust": "tls_only"}, "remove one of the two"),
        ({"trust": "blind"}, "'pinned' or 'tls_only'"),
        ({"trusted_keys": {"k1": "abc"}}, "trusted key 'k1'"),
        ({"trusted_keys": {"k 1": SIGNER.public}}, "id of a trusted key"),
        ({"instance_id": "a b"}, "LICENSE_INSTANCE_ID"),
        ({"period": timedelta(seconds=1)}, "at least 5 seconds"),
        ({"max_grace": timedelta(seconds=-1)}, "not be negative"),
        ({"product_type": "nothing-known"}, "schema=ProductSchema"),
    ],
)
def test_bad_settings_say_what_to_do(settings: dict[str, Any], message: str) -> None:
    """Each mistake has a message of its own, and none repeats the key."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        LicenseConfig(**{"license_key": KEY, "trusted_keys": KEYS, **settings})
    assert str(settings.get("license_key", KEY)) not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://hub.example",
        "http://10.0.0.1",
        "http://[fe80::1]",
        "ftp://hub.example",
        "hub.example",
        "",
        "https://",
        "https://user@hub.example",
        "https://user:pass@hub.example",
        "https://@hub.example",
        "https://hub.example?key=1",
        "https://hub.example#x",
        "https://hub.example\n",
        "https://hub.example\\@evil.example",
        "https://hub example",
        "https://hub.example:99999",
        "https://hub.example:x",
        "https://[::1",
        "https://10.0.0.1",
        "https://192.168.1.1",
        "https://172.16.0.1",
        "https://169.254.169.254",
        "https://100.64.0.1",
        "https://0.0.0.0",
        "https://224.0.0.1",
        "https://255.255.255.255",
        "https://[fe80::1]",
        "https://[fd00::1]",
        "https://[::]",
        "https://[::ffff:10.0.0.1]",
        "https://127.1",
        "https://0x7f.1",
        "https://2130706433",
        "https://017700000001",
        "javascript:alert(1)",
        "file:///etc/passwd",
    ],
)
def test_hub_urls_that_the_key_must_not_be_sent_to(url: str) -> None:
    """Plain http, user info, private and disguised addresses are refused when the configuration is made."""
    with pytest.raises(ConfigurationError, match="hub URL"):
        LicenseConfig(hub_url=url, trusted_keys=KEYS)


@pytest.mark.parametrize(
    "url",
    [
        "https://kuploy.app",
        "https://8.8.8.8",
        "http://127.0.0.1:8000",
        "http://[::1]:8000",
        "http://localhost:1",
        "https://127.0.0.1",
    ],
)
def test_hub_urls_that_are_fine(url: str) -> None:
    """Https anywhere public, and http on this machine."""
    assert LicenseConfig(hub_url=url, trusted_keys=KEYS).hub_url == url


def test_a_private_hub_is_a_choice() -> None:
    """A hub in a private network is allowed when somebody says so."""
    config = LicenseConfig(hub_url="https://10.0.0.1", trusted_keys=KEYS, allow_private_hub=True)
    assert config.hub_url == "https://10.0.0.1"


def test_the_environment_beats_code() -> None:
    """A set variable wins over a setting, an unset or empty one leaves it."""
    environ = {
        "LICENSE_KEY": KEY,
        "LICENSE_HUB_URL": "https://other.example",
        "LICENSE_INSTANCE_ID": " ",
        "LICENSE_TRUSTED_KEYS": f"a={SIGNER.public}, b={SIGNER.public}",
        "LICENSE_ISSUER": "https://issuer.example",
    }
    config = LicenseConfig.from_env(
        environ, license_key="lic_code", instance_id="inst_code", hub_url="https://x.example"
    )
    assert config.key == SecretStr(KEY)
    assert (config.hub_url, config.instance_id) == ("https://other.example", "inst_code")
    assert sorted(config.keys) == ["a", "b"]
    assert config.expected_issuer == "https://issuer.example"


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument the variables of the process count."""
    monkeypatch.setenv("LICENSE_TRUST", "tls_only")
    assert LicenseConfig.from_env().trust is Trust.TLS_ONLY


def test_malformed_key_pairs_are_explained() -> None:
    """`LICENSE_TRUSTED_KEYS` without `=` says how it is written."""
    with pytest.raises(ConfigurationError, match="kid=key pairs"):
        LicenseConfig.from_env({"LICENSE_TRUSTED_KEYS": "abc"})


def test_a_host_may_bring_its_own_product() -> None:
    """With a schema any product type goes."""
    schema = ProductSchema("shop", {}, {})
    assert LicenseConfig(product_type="shop", schema=schema, trusted_keys=KEYS).product_schema is schema


def test_a_missing_extra_is_named() -> None:
    """Without cryptography the error says what to install, and comes from load(), not from a request."""
    script = """
import sys
sys.modules["cryptography"] = None
sys.modules["cryptography.exceptions"] = None
from kuploy_saas_kit.adapters import MemoryStore
from kuploy_saas_kit.errors import ConfigurationError
from kuploy_saas_kit.license import LicenseClient, LicenseConfig
client = LicenseClient(LicenseConfig(trusted_keys={"k": "B" * 42 + "A"}), MemoryStore())
client.snapshot()
try:
    client.load()
except ConfigurationError as error:
    assert "kuploy-saas-kit[signing]" in str(error)
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=100)  # noqa: S603 - our own interpreter


def test_importing_the_room_loads_no_third_party_module() -> None:
    """`kuploy_saas_kit.license` costs nothing until a name is asked for."""
    script = """
import sys
import kuploy_saas_kit.license
assert not {"httpx", "pydantic", "cryptography"} & set(sys.modules)
from kuploy_saas_kit.license import LicenseClient
assert not {"httpx", "cryptography"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=100)  # noqa: S603 - our own interpreter
