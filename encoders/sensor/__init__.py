"""Modality `sensor`: time series, found by what is said of them. Knows texts besides, no more."""
