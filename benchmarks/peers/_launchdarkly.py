"""LaunchDarkly's server SDK on its test data source, without events."""

from __future__ import annotations

import logging

from _rounds import Candidate
from _world import World
from ldclient import Context, LDClient
from ldclient.config import Config
from ldclient.integrations.test_data import TestData


def candidates(world: World) -> list[Candidate]:
    """`variation` for a context made beforehand."""
    logging.getLogger("ldclient").setLevel(logging.ERROR)
    source = TestData.data_source()
    for feature in world.features:
        plans = world.plans_granting(feature)
        flag = source.flag(feature).boolean_flag()
        if world.is_static:
            source.update(flag.variation_for_all("pro" in plans))
            continue
        flag = flag.fallthrough_variation(False)  # noqa: FBT003 - the SDK's own signature
        source.update(flag.if_match("plan", *plans).then_return(True) if plans else flag)  # noqa: FBT003
    config = Config("sdk-key", update_processor_class=source, send_events=False, diagnostic_opt_out=True)
    client = LDClient(config=config)
    contexts = {org_id: Context.builder(org_id).set("plan", slug).build() for org_id, slug in world.plan_of.items()}
    scope = {"client": client, "contexts": contexts}
    return [
        Candidate("LaunchDarkly: variation()", "client.variation(f, contexts[o], False)", scope, close=client.close)
    ]
