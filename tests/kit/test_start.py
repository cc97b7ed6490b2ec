"""The first moments of a kit."""

from tests.kit.world import make_world

from kuploy_saas_kit.model.subscription import OrgSubscription
from kuploy_saas_kit.stripe_provision.ports import SubscriptionChange


def test_a_first_start_is_ready_at_once() -> None:
    """After the first start ever the plans are in force, without waiting for the background."""
    with make_world() as world:
        world.keys = None
        with world.kit() as kit:
            assert kit.gate.acquire("acme", "maxProjects").granted


def test_the_host_joins_the_writing_transaction() -> None:
    """A host's hook is called with the change when a webhook writes a subscription."""
    seen: list[OrgSubscription] = []

    def note(change: SubscriptionChange, connection: object) -> None:
        seen.append(change.after)

    with make_world() as world:
        kit = world.kit(on_subscription_change=note)
        kit.run_once()
        session = kit.checkout.start("acme", "pro", success_url="https://a.example/", cancel_url="https://a.example/")
        world.stripe.pay(session.id)
        kit.webhooks.sync_org("acme")
        assert [row.plan for row in seen] == ["pro"]
