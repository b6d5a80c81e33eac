"""Owns HTTP: one file per API dialect over the same models. It does not know how they compute."""
