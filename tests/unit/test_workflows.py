"""The workflows of GitHub Actions: what a linter does not know of them."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import targets

GITHUB = Path(__file__).parents[2] / ".github"
FILES = [*sorted((GITHUB / "workflows").glob("*.yml")), *sorted((GITHUB / "actions").rglob("action.yml"))]
WORKFLOWS: dict[str, dict[str, Any]] = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in FILES if path.name != "action.yml"
}
JOBS = [
    pytest.param(job, id=f"{workflow}-{name}")
    for workflow, content in WORKFLOWS.items()
    for name, job in content["jobs"].items()
]
WRITING = {"contents": {"draft"}, "id-token": {"attest"}, "attestations": {"attest"}}


def matrix(job: str, workflow: str = "build") -> dict[str, dict[str, str]]:
    rows = WORKFLOWS[workflow]["jobs"][job]["strategy"]["matrix"]["include"]
    return {row["target"]: row for row in rows}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name + "-" + path.stem)
def test_foreign_actions_are_pinned_to_a_commit_with_their_version(path: Path) -> None:
    used = re.findall(r"uses: (\S+)(.*)", path.read_text(encoding="utf-8"))
    foreign = [(action, comment) for action, comment in used if not action.startswith("./")]

    assert [
        action
        for action, comment in foreign
        if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", action) or not re.fullmatch(r" # v\d+\.\d+\.\d+", comment)
    ] == []


def test_an_action_is_the_same_one_everywhere() -> None:
    used = [use for path in FILES for use in re.findall(r"uses: ([^.\s]\S*)@(\w+)", path.read_text(encoding="utf-8"))]

    assert len(set(used)) == len(dict(used))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name + "-" + path.stem)
def test_nothing_is_pasted_into_a_script(path: Path) -> None:
    def scripts(value: Any) -> list[str]:
        if isinstance(value, list):
            return [script for each in value for script in scripts(each)]
        if not isinstance(value, dict):
            return []
        own = [value["run"]] if isinstance(value.get("run"), str) else []
        return own + [script for each in value.values() for script in scripts(each)]

    found = scripts(yaml.safe_load(path.read_text(encoding="utf-8")))

    assert [script for script in found if "${{" in script] == []


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_workflow_itself_may_nothing(workflow: str) -> None:
    assert WORKFLOWS[workflow]["permissions"] == {}


@pytest.mark.parametrize("job", JOBS)
def test_job_ends_in_time_and_says_what_it_may(job: dict[str, Any]) -> None:
    assert "permissions" in job
    assert "uses" in job or job["timeout-minutes"] <= 90


def test_each_writing_permission_is_one_jobs() -> None:
    jobs = [(name, job) for content in WORKFLOWS.values() for name, job in content["jobs"].items()]

    writing = {
        permission: {name for name, job in jobs if job["permissions"].get(permission) == "write"}
        for _, job in jobs
        for permission, value in job["permissions"].items()
        if value == "write"
    }

    assert writing == WRITING


def test_what_writes_runs_for_a_pushed_tag_only() -> None:
    jobs = WORKFLOWS["release"]["jobs"]

    assert {jobs[name]["if"] for names in WRITING.values() for name in names} == {"github.event_name == 'push'"}
    assert WORKFLOWS["release"][True] == {"push": {"tags": ["v*"]}, "workflow_dispatch": None}


def test_every_target_is_built_and_attested() -> None:
    attested = WORKFLOWS["release"]["jobs"]["attest"]["strategy"]["matrix"]["target"]

    assert (*matrix("build"),) == (*attested,) == targets.TARGETS


def test_second_build_is_made_like_the_first() -> None:
    first, second = matrix("build"), matrix("reproducible")

    assert second == {target: first[target] for target in second}
    assert second


def test_linux_is_built_on_the_old_base_that_it_promises() -> None:
    images = {target: row.get("image", "") for target, row in matrix("build").items()}

    assert {
        target: re.fullmatch(r"quay\.io/pypa/manylinux_2_28_(\w+)@sha256:[0-9a-f]{64}", image)[1]
        for target, image in images.items()
        if image
    } == {"linux-x64": "x86_64", "linux-arm64": "aarch64"}
