"""Weights that were dequantised are said to be, wherever a page tells of the model."""

from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from cwac.artifacts import ArtifactStore, write_record
from cwac.records import WeightsOrigin
from cwac.ui.widgets import plain


def test_pages_say_what_weights_were_dequantised_from(
    own_store: ArtifactStore, open_page: Callable[..., AppTest]
) -> None:
    origin = WeightsOrigin(file="small.Q4_1.gguf", sha256="ab" * 32, quantisation="Q4_1")
    for run in own_store.list_runs():
        record = run.record
        assert record is not None
        made = record.provenance.model_copy(update={"weights": origin})
        changed = record.model_copy(update={"provenance": made})
        write_record(own_store.write_root / record.run_id, changed)
    for page in ("requests", "runs"):
        app = open_page(page, own_store.write_root)
        assert not app.exception
        captions = [caption.value for caption in app.caption]
        assert captions.count(plain("Weights: dequantised Q4_1, from small.Q4_1.gguf.")) == 1
    (table,) = [frame.value for frame in app.dataframe if "Model" in frame.value]
    assert set(table["Model"]) == {"organism (dequantised Q4_1)"}
