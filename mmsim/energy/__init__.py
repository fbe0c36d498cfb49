"""Energy and area of components in Accelergy's terms: classes, attributes, actions."""

from mmsim.energy.tables import filled, tables

__all__ = ["filled", "tables"]
