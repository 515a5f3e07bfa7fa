"""The first seed of every group of drawn histories: the same ones for the same checkout."""

import os

__all__ = ["BASE"]

_OF_THIS_RELEASE = 1000
"""Raised with each release, after `make soak` held from the new number on."""

BASE = int(os.environ.get("BOLLARD_SEED_BASE", _OF_THIS_RELEASE))
