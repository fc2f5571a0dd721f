"""What attackers other than the usual one do to the defences in view.

Stands alone because these runs are of other experiments than the one in view.
"""

from collections.abc import Sequence

import pandas as pd

from cwac.analysis.attacks import attacked_runs, of_setting
from cwac.arms import Arm, in_order
from cwac.ui.frame import Frame


def attacks_in_view(frame: Frame) -> tuple[pd.DataFrame, Sequence[Arm]]:
    """Return the attacked runs (`attacked_runs`) of the experiment in view, and their arms."""
    first = frame.experiments[0]
    alike = [r for e in frame.listing.experiments if e.judge == first.judge for r in e.records]
    runs = of_setting(alike, first.records[0])
    return attacked_runs(runs), in_order({r.arm.label: r.arm.over(None) for r in runs}.values())
