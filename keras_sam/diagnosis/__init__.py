"""One step of a model, measured: `verify` and `suggest_rho`."""
