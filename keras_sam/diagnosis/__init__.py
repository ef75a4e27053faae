"""Diagnosis of one step of a model: `verify` and `suggest_rho`."""
