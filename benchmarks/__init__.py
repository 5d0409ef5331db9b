"""Measurements that the documentation quotes; not imported by the package."""
