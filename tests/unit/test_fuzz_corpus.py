"""The seeds of the fuzz targets, among them every input that once failed, run without the fuzzer."""

import importlib
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent.parent / "fuzz"
SEEDS = sorted((FUZZ / "corpus").glob("*/*"))


@pytest.mark.parametrize("path", SEEDS, ids=[f"{path.parent.name}/{path.name}" for path in SEEDS])
def test_seed_passes(path, monkeypatch):
    monkeypatch.syspath_prepend(FUZZ)
    importlib.import_module(f"fuzz_{path.parent.name}").fuzz_one(path.read_bytes())
