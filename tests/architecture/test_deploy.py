"""What is shipped to run the server with is sound as far as that can be told without running it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from ruamel.yaml import YAML
from typer.testing import CliRunner

import serving.cli
from serving.settings import Settings
from serving.telemetry.names import METRICS, Kind

SETTING = re.compile(r"\bRECSYS_[A-Z_]+")
METRIC = re.compile(r"\brecsys_[a-z_]+")
DATABASE = "RECSYS_DATABASE_URL"  # the example says that compose sets it
IMAGE = re.compile(r"[a-z]+(/[a-z]+)?(:[0-9a-z.-]+)?")


@pytest.fixture(scope="module")
def deploy(root_dir: Path) -> Path:
    return root_dir / "deploy"


def read_yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def texts(deploy: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(deploy.rglob("*")):
        if path.is_file():
            yield path.name, path.read_text(encoding="utf-8")


def test_every_setting_named_exists(deploy: Path) -> None:
    known = {f"RECSYS_{name.upper()}" for name in Settings.model_fields}
    assert {name for _, text in texts(deploy) for name in SETTING.findall(text)} <= known


def test_every_command_named_exists(deploy: Path) -> None:
    named = {
        words
        for _, text in texts(deploy)
        for words in re.findall(r"recsys-serve ([a-z-]+(?: create)?)", text)
    }
    named |= {each["command"][0] for each in compose(deploy).values() if "command" in each}
    assert {"run", "migrate", "check"} <= named
    for words in named:
        assert CliRunner().invoke(serving.cli.app, [*words.split(), "--help"]).exit_code == 0, words


def compose(deploy: Path) -> dict[str, Any]:
    services: dict[str, Any] = read_yaml(deploy / "compose.yaml")["services"]
    return services


def test_the_server_starts_after_the_schema_and_the_schema_after_the_database(deploy: Path) -> None:
    services = compose(deploy)
    assert services["migrate"]["depends_on"]["database"]["condition"] == "service_healthy"
    assert services["server"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    volumes = set(read_yaml(deploy / "compose.yaml")["volumes"])
    used = {each.partition(":")[0] for service in services.values() for each in service.get("volumes", [])}
    assert volumes <= used


def test_a_password_may_hold_any_character(deploy: Path) -> None:
    for name in ("migrate", "server", "tools"):
        environment = compose(deploy)[name]["environment"]
        assert "$" not in environment["RECSYS_DATABASE_URL"], "an address is taken apart at @, : and /"
        assert environment["PGPASSWORD"].startswith("${POSTGRES_PASSWORD:?")


def test_what_holds_secrets_is_no_part_of_a_commit(root_dir: Path, deploy: Path) -> None:
    secret = ["recsys.env", ".env", "prometheus/key", "tables/clients.csv", "bundles/x/manifest.json"]
    lines = (root_dir / ".gitignore").read_text().splitlines()
    for name in secret:
        assert any(f"deploy/{name}".startswith(line) for line in lines if line), name


def test_tables_can_be_handed_to_the_command_that_loads_them(deploy: Path) -> None:
    text = (deploy / "compose.yaml").read_text(encoding="utf-8")
    (folder,) = re.findall(r"run --rm tools load (\S+)", text)
    assert only_read(deploy, "tools")[folder] == "${TABLES_DIR:-./tables}"


def only_read(deploy: Path, service: str) -> dict[str, str]:
    """Folders of the host that a service may read: where they are inside → outside."""
    mounts = [each.rsplit(":", 2) for each in compose(deploy)[service]["volumes"] if each.endswith(":ro")]
    return {target: source for source, target, _ in mounts}


def test_models_can_be_handed_to_the_server(deploy: Path) -> None:
    image = (deploy / "Containerfile").read_text(encoding="utf-8")
    (folder,) = re.findall(r"RECSYS_BUNDLES_DIR=(\S+)", image)
    for service in ("server", "tools"):
        assert only_read(deploy, service)[folder] == "${BUNDLES_DIR:-./bundles}"
    text = (deploy / "compose.yaml").read_text(encoding="utf-8")
    assert re.search(r"recsys-train fit .* --out deploy/bundles$", text, re.MULTILINE)


def test_nothing_goes_before_the_file_of_settings(deploy: Path) -> None:
    assert compose(deploy)["server"]["command"] == ["run"], "an option would override it in silence"
    settings = (deploy / "recsys.env.example").read_text(encoding="utf-8")
    assert not set(SETTING.findall(settings)) & set(compose(deploy)["server"]["environment"]) - {DATABASE}


def test_the_proxy_is_named_as_the_server_reads_it(deploy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = (deploy / "recsys.env.example").read_text(encoding="utf-8")
    ((name, addresses),) = re.findall(r"^#(FORWARDED\w+)=(\S+)$", settings, re.MULTILINE)
    monkeypatch.setenv(name, addresses)
    assert uvicorn.Config("app").forwarded_allow_ips == addresses
    assert name in (deploy / "compose.yaml").read_text(encoding="utf-8")


def test_a_start_migrates_no_database_that_others_share(deploy: Path) -> None:
    """What a check finds is logged, and keeps no server from starting."""
    unit = (deploy / "recsys.service").read_text(encoding="utf-8")
    before = re.findall(r"^ExecStartPre=(-?)\S*recsys-serve (\w+)$", unit, re.MULTILINE)
    assert before == [("-", "check")]


def test_two_servers_that_decide_alike_are_no_two_versions(deploy: Path) -> None:
    (group,) = read_yaml(deploy / "prometheus" / "alerts.yaml")["groups"]
    (rule,) = [each for each in group["rules"] if each["alert"] == "RecsysTwoVersions"]
    assert "by (policy, bundle)" in rule["expr"]


def test_images_are_named_without_a_host(deploy: Path) -> None:
    named = [service["image"] for service in compose(deploy).values()]
    named += re.findall(r"^FROM (\S+)", (deploy / "Containerfile").read_text(), re.MULTILINE)
    assert all(IMAGE.fullmatch(each) for each in named), named


def test_the_image_runs_without_root_and_copies_what_exists(root_dir: Path, deploy: Path) -> None:
    text = (deploy / "Containerfile").read_text()
    final = text[text.rindex("\nFROM ") :]
    assert re.search(r"^USER \d+$", final, re.MULTILINE)
    assert "HEALTHCHECK" in final
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        for name in line.split()[:-1]:
            assert (root_dir / name).exists(), name


def test_every_figure_that_alerts_ask_for_exists_and_every_alert_is_explained(
    root_dir: Path, deploy: Path
) -> None:
    (group,) = read_yaml(deploy / "prometheus" / "alerts.yaml")["groups"]
    runbook = (root_dir / "docs" / "how-to" / "operate.md").read_text(encoding="utf-8")
    known = set(METRICS)
    for name, metric in METRICS.items():
        if metric.kind is Kind.HISTOGRAM:
            known |= {f"{name}_count", f"{name}_sum", f"{name}_bucket"}
    for rule in group["rules"]:
        assert set(METRIC.findall(rule["expr"])) <= known, rule["alert"]
        assert f"`{rule['alert']}`" in runbook
        assert rule["labels"]["severity"] in {"page", "ticket"}


def test_every_figure_is_documented(root_dir: Path) -> None:
    reference = (root_dir / "docs" / "reference" / "serving.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip() for line in reference.splitlines() if line.startswith("| `recsys_")}
    assert rows == {f"`{name}`" for name in METRICS}
    for name, metric in METRICS.items():
        row = next(line for line in reference.splitlines() if line.startswith(f"| `{name}` |"))
        kind = "gauge" if metric.kind.is_gauge else metric.kind.value
        assert f"| {kind} |" in row, name
        assert all(f"`{label}`" in row for label in metric.labels), name


@pytest.mark.systemd
def test_systemd_understands_the_unit(deploy: Path, tmp_path: Path) -> None:
    # the programs that it names are not installed where this is tested
    text = (deploy / "recsys.service").read_text().replace("/opt/recsys/venv/bin/recsys-serve", "/bin/true")
    unit = tmp_path / "recsys.service"
    unit.write_text(text)
    run = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    assert "recsys.service" not in run.stderr, run.stderr
    assert run.returncode == 0, run.stderr
