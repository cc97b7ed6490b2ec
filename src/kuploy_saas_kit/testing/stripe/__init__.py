"""A stateful, in-memory double of Stripe for tests, demos and development; it needs the extra `stripe`.

```python
sim = StripeSimulator()
client = sim.client()  # a stripe.StripeClient, in process
sim.endpoint(webhooks.receive, secret="whsec_test")  # (payload, signature) -> status
sim.pay(session.id)  # as the buyer would
sim.deliver(order="reversed", duplicates=2)  # signed as Stripe signs
```
"""

from kuploy_saas_kit.errors import ConfigurationError

try:
    import stripe as _stripe
except ImportError as error:  # pragma: no cover - run in an environment without the extra
    raise ConfigurationError("The Stripe simulator needs an extra: pip install 'kuploy-saas-kit[stripe]'") from error

from kuploy_saas_kit.testing.stripe.delivery import Delivery
from kuploy_saas_kit.testing.stripe.faults import FaultKind
from kuploy_saas_kit.testing.stripe.quirks import Quirks, Settings
from kuploy_saas_kit.testing.stripe.simulator import StripeSimulator
from kuploy_saas_kit.testing.stripe.unsimulated import UnsimulatedError
from kuploy_saas_kit.testing.stripe.wire import Inquiry, RecordedRequest

del _stripe

__all__ = [
    "Delivery",
    "FaultKind",
    "Inquiry",
    "Quirks",
    "RecordedRequest",
    "Settings",
    "StripeSimulator",
    "UnsimulatedError",
]
