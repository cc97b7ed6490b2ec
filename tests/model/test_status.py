import pytest

from kuploy_saas_kit.model.status import LicenseStatus, Operation, permits

# Hub protocol, section 3, row by row: CREATE, PROVISION, CONFIGURE, USE, RUN.
TABLE = """
unlicensed  -    -    -    -    yes
pending     -    -    -    -    yes
revoked     -    -    -    -    yes
suspended   -    -    -    yes  yes
expired     -    -    -    yes  yes
grace       yes  -    yes  yes  yes
stale       yes  yes  yes  yes  yes
active      yes  yes  yes  yes  yes
"""
OPERATIONS = (Operation.CREATE, Operation.PROVISION, Operation.CONFIGURE, Operation.USE, Operation.RUN)
ROWS = [row.split() for row in TABLE.strip().splitlines()]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_what_a_status_permits(row: list[str]) -> None:
    """The table of the protocol, cell by cell."""
    status, *cells = row
    assert [permits(LicenseStatus(status), operation) for operation in OPERATIONS] == [cell == "yes" for cell in cells]


def test_the_table_is_whole() -> None:
    """Every status has its row and every operation its column."""
    assert [row[0] for row in ROWS] == list(LicenseStatus)
    assert set(OPERATIONS) == set(Operation)
