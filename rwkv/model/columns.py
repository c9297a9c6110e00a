"""The columns of the heads' joined outputs, which the engine keeps for each card."""

from rwkv.arrays import Numbers
from rwkv.model.spec import CURVES
from rwkv.vocab import RATINGS

# A head that is not listed is not kept.
COLUMNS = {
    "w_logits": slice(0, CURVES),
    "ahead_logits": slice(CURVES, 2 * CURVES),
    "p_logits": slice(2 * CURVES, 2 * CURVES + len(RATINGS)),
}
KEPT_COLUMNS = max(columns.stop for columns in COLUMNS.values())


def columns_of(joined: Numbers, name: str) -> Numbers:
    """One head's columns of joined outputs [N, outputs], by its name in COLUMNS."""
    return joined[:, COLUMNS[name]]
