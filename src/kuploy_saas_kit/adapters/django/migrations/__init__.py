"""The migrations of the Django app: one for each revision of the kit's tables."""
