import pytest

from kilometers.core import settings
from kilometers.core.settings import resolve

ENVIRONMENT = {"KILOMETERS_CAPTURE": "metadata"}
CONFIG: dict[str, object] = {"capture": "off", "servers": {"mine": {"capture": "full"}}}


def given(**sources: object) -> tuple[str, str]:
    found = resolve(settings.CAPTURE, **sources)
    return found.value, found.source


def test_flag_goes_before_all_other_sources() -> None:
    assert given(flag="full", environment=ENVIRONMENT, config=CONFIG) == ("full", "flag")


def test_environment_goes_before_the_file() -> None:
    assert given(environment=ENVIRONMENT, config=CONFIG, server="mine") == ("metadata", "environment")


def test_empty_variable_counts_as_unset() -> None:
    assert given(environment={"KILOMETERS_CAPTURE": ""}, config=CONFIG) == ("off", "config.toml")


def test_servers_own_table_goes_before_the_rest_of_the_file() -> None:
    assert given(config=CONFIG, server="mine") == ("full", "config.toml")
    assert given(config=CONFIG, server="other") == ("off", "config.toml")


def test_default_comes_last() -> None:
    assert given() == ("full", "default")


@pytest.mark.parametrize("servers", ["text", {"mine": "text"}, {"mine": []}, [], 3])
def test_odd_server_table_is_passed_over(servers: object) -> None:
    assert given(config={"capture": "off", "servers": servers}, server="mine") == ("off", "config.toml")


@pytest.mark.parametrize(
    "sources",
    [
        {"flag": "everything"},
        {"environment": {"KILOMETERS_CAPTURE": "FULL"}},
        {"config": {"capture": False}},
        {"config": {"capture": ["full"]}},
        {"config": {"capture": ""}},
    ],
)
def test_unknown_choice_is_refused_by_name_and_source(sources: dict[str, object]) -> None:
    source = {"flag": "flag", "environment": "environment", "config": "config.toml"}[next(iter(sources))]

    with pytest.raises(ValueError, match=rf"^capture = .*\({source}\): it may be full, metadata, off$"):
        given(**sources)


@pytest.mark.parametrize("value", ["-1", "1.5", "ten", "", "²"])
def test_number_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"^retention_days = .* whole number$"):
        resolve(settings.RETENTION_DAYS, config={"retention_days": value})


def test_number_in_the_file_is_taken_as_text() -> None:
    assert resolve(settings.RETENTION_DAYS, config={"retention_days": 7}).value == "7"


@pytest.mark.parametrize("name", settings.SETTINGS)
def test_each_default_is_allowed(name: str) -> None:
    assert resolve(name).source == "default"
