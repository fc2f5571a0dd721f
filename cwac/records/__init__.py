"""What a run leaves behind: self-describing records and table schemas, without torch."""

from cwac.records.checking import KEYS, WORDS, check_columns, check_table
from cwac.records.run import (
    OUTCOMES,
    SCHEMA_VERSION,
    Direction,
    MetricValue,
    Name,
    Outcome,
    Provenance,
    RunRecord,
    WeightsOrigin,
    is_name,
    now,
)
from cwac.records.tables import (
    BETWEEN_ARMS,
    LATER_COLUMNS,
    OUTER_MAPS,
    TABLES,
    WHOLE_UPDATE,
    line_to,
)

__all__ = [
    "BETWEEN_ARMS",
    "KEYS",
    "LATER_COLUMNS",
    "OUTCOMES",
    "OUTER_MAPS",
    "SCHEMA_VERSION",
    "TABLES",
    "WHOLE_UPDATE",
    "WORDS",
    "Direction",
    "MetricValue",
    "Name",
    "Outcome",
    "Provenance",
    "RunRecord",
    "WeightsOrigin",
    "check_columns",
    "check_table",
    "is_name",
    "line_to",
    "now",
]
