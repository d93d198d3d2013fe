"""The files of ``docs/deploy``: by the schemas of Kubernetes and Compose, and against what they are for.

Those of KEDA are in no package, so its two resources are held to what KEDA's own description requires, written down here.
Nothing is built: that takes an engine.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import msgspec
import pytest
import yaml
from compose_spec import PyCompose
from tinytown_cli.command_index import contributions
from tinytown_cli.command_table import COMMANDS
from tinytown_townhall.application import all_endpoints
from tinytown_townhall.endpoints.town import Scaling
from tinytown_townhall.extensions import Extensions

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "docs" / "deploy"
if not DEPLOY.is_dir():
    pytest.skip("the manual is not beside the plugin", allow_module_level=True)
DOCKERFILES = sorted(DEPLOY.glob("*.Dockerfile"))
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
KUBERNETES = "1.34"
PATHS = {endpoint.path for endpoint in all_endpoints(Extensions())}


def resources() -> list[dict[str, Any]]:
    return [resource for path in MANIFESTS for resource in yaml.safe_load_all(path.read_text())]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [resource for resource in resources() if resource["kind"] == kind]


def containers() -> Iterator[dict[str, Any]]:
    for resource in (*of_kind("Deployment"), *of_kind("StatefulSet")):
        spec = resource["spec"]["template"]["spec"]
        yield from (*spec.get("initContainers", ()), *spec["containers"])


def instructions(path: Path) -> list[tuple[str, str]]:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_are_right_by_the_schemas_of_kubernetes(path: Path) -> None:
    for resource in yaml.safe_load_all(path.read_text()):
        if not resource["apiVersion"].startswith("keda.sh/"):
            kubernetes_validate.validate(resource, KUBERNETES, strict=True)


def test_the_compose_file_is_right_by_the_specification() -> None:
    values = {"TOWN_PROJECT": "/srv/project", "TINYTOWN_REDIS_PASSWORD": "long"}
    raw = (DEPLOY / "compose.yaml").read_text()
    text = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda match: values[match[1]], raw)  # as Compose itself does first
    compose = PyCompose.from_yaml(text)
    compose.validate()
    assert sorted(compose.service_names()) == ["kernel", "server", "townhall"]
    services = yaml.safe_load(text)["services"]
    for service in services.values():
        build = service["build"]
        context = DEPLOY / build["context"]
        assert (context / build["dockerfile"]).is_file()
        assert {volume.partition(":")[0] for volume in service["volumes"] if volume[0] != "/"} <= set(
            yaml.safe_load(text)["volumes"]
        )
    assert services["townhall"]["ports"] == ["127.0.0.1:8787:8787"], "to others it is for something that speaks TLS"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_a_dockerfile_builds_from_what_is_here_and_runs_as_nobody_special(path: Path) -> None:
    found = instructions(path)
    assert {word for word, _ in found} <= {
        "FROM",
        "RUN",
        "COPY",
        "ARG",
        "USER",
        "WORKDIR",
        "ENV",
        "EXPOSE",
        "CMD",
        "ENTRYPOINT",
    }
    assert found[0][0] == "FROM"
    users = [rest for word, rest in found if word == "USER"]
    assert users
    assert users[-1] not in ("root", "0")
    context = DEPLOY if path.name == "server.Dockerfile" else ROOT
    for source in (rest.split()[0] for word, rest in found if word == "COPY"):
        assert (context / source).exists(), source
    for word, rest in found:
        if word in ("CMD", "ENTRYPOINT"):
            command = msgspec.json.decode(rest, type=list[str])
            assert command[0] in ("tt", "sh")
            if command[0] == "tt":
                assert command[1] in {*COMMANDS, *(each.name for each in contributions(()).commands)}


@pytest.mark.parametrize("name", ["kernel", "townhall"])
def test_an_image_has_all_plugins_that_its_plugins_need(name: str) -> None:
    (argument,) = [rest for word, rest in instructions(DEPLOY / f"{name}.Dockerfile") if word == "ARG"]
    plugins = shlex.split(argument.partition("=")[2])[0].split()
    for plugin in plugins:
        project = tomllib.loads((ROOT / "plugins" / plugin / "pyproject.toml").read_text())["project"]
        needed = {re.split(r"[>=<\[ ]", each)[0] for each in project["dependencies"]}
        ours = {each.removeprefix("tinytown-") for each in needed if each.startswith("tinytown-")} - {"core"}
        assert ours <= set(plugins), f"{plugin} needs {sorted(ours - set(plugins))}"


def test_images_are_ours_or_named_without_a_registry() -> None:
    named = [rest.split()[0] for path in DOCKERFILES for word, rest in instructions(path) if word == "FROM"]
    assert sorted(set(named)) == ["python:3.12-slim", "valkey/valkey:8"]
    assert {container["image"] for container in containers()} == {f"tinytown-{path.stem}" for path in DOCKERFILES}


def test_no_container_has_more_rights_than_it_needs() -> None:
    for container in containers():
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    for resource in (*of_kind("Deployment"), *of_kind("StatefulSet")):
        spec = resource["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["automountServiceAccountToken"] is False


def test_no_file_has_a_password() -> None:
    for container in containers():
        for variable in container.get("env", ()):
            assert "value" not in variable or "PASSWORD" not in variable["name"]
    assert of_kind("Secret") == []


def test_what_resources_name_exists() -> None:
    maps = {each["metadata"]["name"] for each in of_kind("ConfigMap")}
    for container in containers():
        assert {each["configMapRef"]["name"] for each in container.get("envFrom", ())} <= maps
        for probe in ("livenessProbe", "readinessProbe"):
            if request := container.get(probe, {}).get("httpGet"):
                assert request["path"] in PATHS
                assert request["httpHeaders"] == [{"name": "Host", "value": "localhost"}]
    pods = [
        each["spec"]["template"]["metadata"]["labels"] for each in (*of_kind("Deployment"), *of_kind("StatefulSet"))
    ]
    for service in of_kind("Service"):
        assert any(service["spec"]["selector"].items() <= labels.items() for labels in pods)
    members = [labels["app"] for labels in pods if labels.get("town") == "member"]
    assert sorted(members) == ["town-kernel", "townhall"], "only these may reach the server"


def test_keda_scales_kernels_by_what_the_townhall_says() -> None:
    (authentication,) = of_kind("TriggerAuthentication")
    (scaled,) = of_kind("ScaledObject")
    assert authentication["apiVersion"] == scaled["apiVersion"] == "keda.sh/v1alpha1"
    spec = scaled["spec"]
    assert set(spec) <= {
        "scaleTargetRef", "minReplicaCount", "maxReplicaCount", "pollingInterval", "cooldownPeriod", "triggers",
    }  # fmt: skip
    assert spec["scaleTargetRef"]["name"] in {each["metadata"]["name"] for each in of_kind("Deployment")}
    assert 0 <= spec["minReplicaCount"] < spec["maxReplicaCount"]
    (trigger,) = spec["triggers"]
    assert trigger["type"] == "metrics-api"
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    metadata = trigger["metadata"]
    assert all(isinstance(value, str) for value in metadata.values()), "KEDA takes texts"
    host, _, path = metadata["url"].removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    service = next(each for each in of_kind("Service") if each["metadata"]["name"] == name)
    assert service["spec"]["ports"][0]["port"] == int(port)
    assert f"/{path}" in PATHS
    assert metadata["valueLocation"] in {field.encode_name for field in msgspec.structs.fields(Scaling)}
    assert metadata["authMode"] == "bearer"
    (secret,) = authentication["spec"]["secretTargetRef"]
    assert secret["parameter"] == "token"
