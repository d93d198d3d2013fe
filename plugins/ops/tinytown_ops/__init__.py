"""Tinytown plugin: monitor, explain and repair a town: doctor, top, history, costs and more."""
