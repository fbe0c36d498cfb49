"""Energy and area of components in Accelergy's terms: classes, attributes, actions."""
