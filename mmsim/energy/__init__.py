"""Energy and area of components in Accelergy's terms: classes, attributes, actions."""

from mmsim.energy.tables import filled, rescaled, tables

__all__ = ["filled", "rescaled", "tables"]
