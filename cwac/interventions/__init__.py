"""One intervention per file; this list decides the order in which they are made and shown."""

from typing import Final

from cwac.interfaces import Intervention
from cwac.interventions.ends import Ends
from cwac.interventions.restore import Restore
from cwac.interventions.transplant import Transplant
from cwac.registry import Registry

INTERVENTIONS: Final[Registry[type[Intervention]]] = Registry(
    "intervention",
    [
        Ends,
        Restore,
        Transplant,
    ],
)
