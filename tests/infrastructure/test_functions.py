"""Handlers, settings and the template agree: one function for each handler, with the variables that it reads."""

from dataclasses import fields

import pytest

from stream_redrive import settings
from tests.infrastructure.templates import REPOSITORY, SynthesisedStack, readable

HANDLERS = sorted(
    path.stem
    for path in (REPOSITORY / "functions" / "stream_redrive" / "handlers").glob("*.py")
    if path.stem != "__init__"
)
POWERTOOLS = {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE", "POWERTOOLS_LOG_LEVEL"}


def pascal_case(handler: str) -> str:
    return "".join(word.capitalize() for word in handler.split("_"))


def test_every_handler_is_one_function(plain: SynthesisedStack) -> None:
    assert sorted(plain.functions()) == HANDLERS
    logical_ids = {readable({"Ref": name}) for name in plain.of_type("AWS::Lambda::Function")}
    assert logical_ids == {f"Functions{pascal_case(handler)}" for handler in HANDLERS}


@pytest.mark.parametrize("handler", HANDLERS)
def test_a_function_gets_the_variables_that_it_reads_and_no_other(plain: SynthesisedStack, handler: str) -> None:
    settings_class = getattr(settings, f"{pascal_case(handler)}Settings")
    wanted = {entry.metadata["variable"] for entry in fields(settings_class)}
    assert plain.functions()[handler]["Environment"]["Variables"].keys() == wanted | POWERTOOLS


@pytest.mark.parametrize("handler", HANDLERS)
def test_the_variables_hold_what_the_settings_can_read(plain: SynthesisedStack, handler: str) -> None:
    variables = plain.functions()[handler]["Environment"]["Variables"]
    settings_class = getattr(settings, f"{pascal_case(handler)}Settings")
    settings_class.load({name: readable(value) for name, value in variables.items()})
