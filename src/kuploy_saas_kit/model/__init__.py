"""The vocabulary as frozen values: rights, plans, grants, money, products, status, subscriptions."""
