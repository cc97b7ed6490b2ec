from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.instance import Instance, make_instance


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Instance]:
    """An instance without license and tables."""
    with make_instance(tmp_path, monkeypatch, capsys) as made:
        yield made
