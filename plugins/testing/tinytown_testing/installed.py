"""Plugins that a test installs into a directory: what pip leaves behind, so that they are found and loaded like any other."""

from __future__ import annotations

from pathlib import Path


def install_plugin(directory: Path, name: str, source: str) -> Path:
    """Install the plugin `name`, whose module ``tinytown_<name>`` has this `source`; returns the module's path."""
    module = f"tinytown_{name}"
    install_distribution(directory, f"tinytown-{name}", f"[tinytown]\n{name} = {module}\n")
    path = directory / f"{module}.py"
    path.write_text(source)
    return path


def install_distribution(directory: Path, name: str, entry_points: str, *, version: str = "1.0") -> Path:
    """Install a distribution without modules, with this ``entry_points.txt``; returns the directory of its metadata."""
    metadata = directory / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (metadata / "entry_points.txt").write_text(entry_points)
    return metadata
