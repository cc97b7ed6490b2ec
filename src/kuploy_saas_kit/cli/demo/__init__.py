"""`kuploy-saas-kit demo`: a tenant's whole story on this machine, checked step by step."""

from __future__ import annotations

import tempfile
from pathlib import Path

from kuploy_saas_kit.cli.demo.report import Reporter
from kuploy_saas_kit.errors import ConfigurationError


def run_demo(*, as_json: bool = False, keep: str | None = None, stripe_test: bool = False) -> int:
    """Play the story; 0 if every check held. Without *stripe_test* no key of the environment is ever used."""
    from kuploy_saas_kit.cli.demo.shop import SimulatedShop  # noqa: PLC0415 - needs several extras

    if stripe_test:
        raise ConfigurationError("not yet")
    reporter = Reporter(as_json=as_json)
    if keep is not None:
        Path(keep).mkdir(parents=True, exist_ok=True)
        return _play(Path(keep), SimulatedShop, reporter)
    with tempfile.TemporaryDirectory(prefix="kuploy-demo-") as folder:
        return _play(Path(folder), SimulatedShop, reporter)


def _play(folder: Path, shop_class, reporter: Reporter) -> int:
    from kuploy_saas_kit.cli.demo.stage import stage
    from kuploy_saas_kit.cli.demo.story import STORY
    from kuploy_saas_kit.testing.clock import ManualClock

    with stage(folder, shop_class(ManualClock())) as props:
        for title, step in STORY:
            reporter.begin(title)
            step(props, reporter)
    return reporter.end()
