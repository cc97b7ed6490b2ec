"""`kuploy-saas-kit demo`: a tenant's whole story on this machine, checked step by step."""

from __future__ import annotations

import os
import tempfile
from contextlib import nullcontext
from pathlib import Path


def run_demo(
    *, as_json: bool = False, keep: str | None = None, store: str | None = None, stripe_test: bool = False
) -> int:
    """Play the story; 0 if every check held. Without *stripe_test* no key of the environment is ever used.

    With *keep* the SQLite file stays in that folder, which must not hold one from before. *store* is a PostgreSQL,
    in which the demo plays in a schema of its own, or a Redis for the license and the counters beside SQLite.
    """
    from kuploy_saas_kit.cli.demo.place import folder_to_keep, place_for  # noqa: PLC0415 - the demo needs several extras
    from kuploy_saas_kit.cli.demo.report import Reporter  # noqa: PLC0415 - likewise
    from kuploy_saas_kit.cli.demo.shop import SimulatedShop, test_mode_shop  # noqa: PLC0415 - likewise
    from kuploy_saas_kit.cli.demo.stage import stage  # noqa: PLC0415 - likewise
    from kuploy_saas_kit.cli.demo.story import STORY  # noqa: PLC0415 - likewise
    from kuploy_saas_kit.testing.clock import ManualClock  # noqa: PLC0415 - likewise

    clock = ManualClock()
    shop = test_mode_shop(os.environ, clock) if stripe_test else SimulatedShop(clock)
    reporter = Reporter(as_json=as_json)
    at = (
        tempfile.TemporaryDirectory(prefix="kuploy-demo-") if keep is None else nullcontext(folder_to_keep(keep, store))
    )
    with at as folder, place_for(store, Path(folder)) as place, stage(place, shop) as props:
        for title, step in STORY:
            reporter.begin(title)
            step(props, reporter)
    return reporter.end()
