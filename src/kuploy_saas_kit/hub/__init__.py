"""The reference hub: the other side of the hub protocol, for development, tests and small operators.

`ledger`, `claims`, `catalogs`, `usage` and `payload` are its rules, pure; `service` and `admin` carry them over a
`store`; `app` serves them over HTTP. `signing`, `app` and what uses them need the extra `[hub]`.
"""
