"""Energy and area of components in Accelergy's terms: classes, attributes, actions."""

from mmsim.energy.tables import complete, tables

__all__ = ["complete", "tables"]
