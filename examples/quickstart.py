"""License, plans and a limit in one small script: `python examples/quickstart.py`.

A hub is simulated on this machine, so nothing is asked of the network, and no extra needs to be installed.
"""

from concurrent.futures import ThreadPoolExecutor

from kuploy_saas_kit import SaasKit
from kuploy_saas_kit.adapters import MemoryStore
from kuploy_saas_kit.license import LicenseConfig
from kuploy_saas_kit.plans import Operation, Plan, PlanCatalog, Price
from kuploy_saas_kit.testing import HubSimulator

PLANS = PlanCatalog(
    [
        Plan("free", "Free", limits={"maxProjects": 1}, is_default=True),
        Plan("pro", "Pro", Price(2000, "cad", "monthly"), {"aiAssistant", "customDomains"}, {"maxProjects": 5}),
    ]
)


def main() -> None:
    """Play a tenant's first minutes."""
    hub = HubSimulator(signed=False)
    tenant = hub.add_tenant("Acme Hosting")
    license_key = hub.issue_license(tenant, tier="growth")
    hub.set_catalog(tenant, PLANS)

    with hub.serve() as url:
        kit = SaasKit(LicenseConfig(hub_url=url, license_key=license_key, trust="tls_only"), MemoryStore())
        report = kit.run_once()  # one sync with the hub; its plans go into the store
    print(f"license  {report.sync.status}: {kit.license.snapshot().tier}, plans {[plan.slug for plan in PLANS]}")
    # The hub is gone from here on. Questions are answered from memory and from the store.

    kit.gate.assign("acme", "pro", actor="quickstart", reason="instead of a checkout")
    print(f"feature  {kit.gate.explain('acme', 'aiAssistant')}")
    print(f"feature  {kit.gate.explain('acme', 'multiServer')}")
    print(f"feature  {kit.gate.explain('newcomer', 'aiAssistant')}")

    with ThreadPoolExecutor(8) as pool:
        decisions = list(pool.map(lambda _: kit.gate.acquire("acme", "maxProjects"), range(8)))
    print(f"limit    {sum(decision.granted for decision in decisions)} of 8 concurrent requests got a project")
    print(f"limit    {next(decision for decision in decisions if not decision.granted)}")

    print(f"outage   {kit.license.snapshot().status}; creating: {kit.gate.check_operation(Operation.CREATE).granted}")


if __name__ == "__main__":
    main()
