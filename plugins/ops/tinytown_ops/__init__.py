"""Tinytown plugin: see, explain and repair a town: doctor, top, history, costs and more."""
