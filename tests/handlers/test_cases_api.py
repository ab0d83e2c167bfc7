"""The cases API: who signed may ask, a GET changes nothing, and each refusal has its status and its name."""

import base64
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier, local
from typing import Any

import pytest

from stream_redrive import bootstrap
from stream_redrive.adapters.cases import DynamoCaseStore
from stream_redrive.adapters.clock import LambdaClock
from stream_redrive.adapters.s3 import S3Vault
from stream_redrive.adapters.stepfunctions import StepFunctionsTaskTokens
from stream_redrive.api.problems import STATUS
from stream_redrive.api.requests import MAX_BODY_BYTES
from stream_redrive.core import refusals
from stream_redrive.core.cases import Call, CaseStatus, Word
from stream_redrive.core.errors import AccessDenied, ServiceBusy
from stream_redrive.core.ports import CaseChange, HandOver
from stream_redrive.handlers import cases_api
from tests.support.cloud import TABLE, VAULT, Cloud, Context
from tests.support.deciding import ALICE, BOB, CASE, STRANGER, new_case, quarantined, record

TOKEN = "the-task-token-of-an-execution"
POLICY = {"default": {"approval": {"approvers": ["role/operator", "user/*"]}, "schema": {"required": ["a"]}}}
PATCH = [{"op": "add", "path": "/n", "value": 1}]


class Api:
    """The API over a case of three records."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.store = DynamoCaseStore(cloud.client("dynamodb"), TABLE, LambdaClock(lambda: 900_000))
        self.vault = S3Vault(cloud.client("s3"), VAULT)
        piece = quarantined(self.vault, "incident-1", [b'{"a":"SECRET"}'] * 3)
        case = new_case(records=3, expires_at="2099-01-01T00:00:00.000Z")
        assert self.store.commit(CaseChange(case, pieces=[piece]))
        self.store.save_token(CASE, TOKEN)
        self._calls = 0

    def call(
        self, method: str, path: str, body: Any = None, *, arn: str | None = ALICE, query: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """What a caller gets: status and body."""
        self._calls += 1
        context: dict[str, Any] = {"http": {"method": method, "path": path}, "requestId": "r", "stage": "$default"}
        if arn is not None:
            context["authorizer"] = {"iam": {"userArn": arn, "accountId": "123456789012"}}
        event = {
            "version": "2.0",
            "routeKey": f"{method} {path}",
            "rawPath": path,
            "rawQueryString": "",
            "queryStringParameters": query or {},
            "headers": {"content-type": "application/json", "x-caller": BOB},
            "requestContext": context,
            "isBase64Encoded": False,
        }
        if body is not None:
            event["body"] = body if isinstance(body, str) else json.dumps(body)
        answer = cases_api.handler(event, Context("CasesApi", aws_request_id=f"request-{self._calls}"))  # type: ignore[arg-type]
        return answer["statusCode"], json.loads(answer["body"])

    def post(self, what: str, body: Any, arn: str | None = ALICE) -> tuple[int, Any]:
        return self.call("POST", f"/cases/{CASE}/{what}", body, arn=arn)

    def digest(self, action: str, **fields: Any) -> str:
        status, plan = self.post("plans", {"action": action, **fields})
        assert status == 200, plan
        return str(plan["digest"])

    def decide(self, action: str, digest: str, arn: str | None = ALICE, **fields: Any) -> tuple[int, Any]:
        return self.post("decisions", {"action": action, "digest": digest, "reason": "seen", **fields}, arn)

    def stored(self, *, events: bool = True) -> Any:
        """Everything in the ledger and the vault."""
        items = self.cloud.client("dynamodb").scan(TableName=TABLE)["Items"]
        if not events:
            items = [
                i for i in items if not i["sk"]["S"].startswith("EVENT#") and not i["pk"]["S"].startswith("AUDIT#")
            ]
        objects = [(o.key, self.vault.get(o.key)) for o in self.vault.list("")]
        return sorted(json.dumps(item, sort_keys=True) for item in items), objects

    def denials(self) -> list[str]:
        return [e.details["refusal"] for e in self.store.events(CASE) if e.kind == "denied"]


@pytest.fixture
def api(cloud: Cloud) -> Api:
    cloud.set_policy(POLICY)
    return Api(cloud)


def test_a_case_is_listed_shown_planned_noted_viewed_and_decided(api: Api) -> None:
    status, page = api.call("GET", "/cases")
    assert (status, [case["id"] for case in page["cases"]], page["next"]) == (200, [CASE], None)
    assert api.post("notes", {"text": "looking"})[0] == 200
    status, line = api.post("views", {"record": record(2)})
    assert (status, base64.b64decode(line["data"])) == (200, b'{"a":"SECRET"}')
    status, plan = api.post("plans", {"action": "redrive"})
    assert (status, plan["records"]["eligible"], plan["incomplete"], plan["people"]) == (200, 3, None, 1)
    status, answer = api.decide("redrive", plan["digest"], ticket="OPS-7")
    case = answer["case"]
    assert (status, case["status"], case["decision"]["by"]["arn"]) == (200, "decided", ALICE)
    status, details = api.call("GET", f"/cases/{CASE}")
    assert [note["text"] for note in details["notes"]] == ["looking"]
    assert [event["kind"] for event in details["history"]] == ["noted", "viewed", "planned", "decided"]


def test_an_edit_takes_two_signatures(api: Api) -> None:
    digest = api.digest("edit", patch=PATCH)
    answer = api.decide("edit", digest, patch=PATCH)[1]
    assert (answer["case"]["status"], answer["told"]) == ("proposed", True)
    assert api.decide("edit", digest, BOB)[1]["case"]["status"] == "decided"


def test_a_decision_whose_telling_fails_stands_and_is_told_later(
    api: Api,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def denied(*_: str) -> bool:
        raise AccessDenied("states:SendTaskSuccess: not authorized")

    monkeypatch.setattr(StepFunctionsTaskTokens, "succeed", denied)
    status, answer = api.decide("keep", api.digest("keep"))
    assert (status, answer["case"]["status"], answer["told"]) == (200, "decided", False)
    assert (CASE, HandOver.DECIDED) in api.store.hand_overs()
    [logged] = [vars(entry) for entry in caplog.records if entry.levelname == "ERROR"]
    assert (logged["case_id"], logged["error"]) == (CASE, "AccessDenied")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sum(sum(line["HandOversFailed"]) for line in lines if "_aws" in line) == 1


@pytest.mark.parametrize("attempt", range(3))
def test_of_two_who_decide_at_the_same_moment_one_wins_and_the_other_is_told_who(
    api: Api, attempt: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {arn: (action, api.digest(action)) for arn, action in ((ALICE, "keep"), (BOB, "redrive"))}
    commit, both_have_read, here = DynamoCaseStore.commit, Barrier(2, timeout=30), local()

    def commit_together(store: DynamoCaseStore, change: CaseChange) -> bool:
        if not hasattr(here, "waited"):
            here.waited = both_have_read.wait()
        return commit(store, change)

    monkeypatch.setattr(DynamoCaseStore, "commit", commit_together)

    def decide(arn: str) -> str:
        action, digest = wanted[arn]
        desk = bootstrap.cases_api(Context("CasesApi"))  # type: ignore[arg-type]
        try:
            word = Word(digest, "seen")
            return str(desk.decide(Call(arn, f"{attempt}-{action}"), CASE, {"action": action}, word).case.status)
        except refusals.AlreadyDecided as exc:
            return str(exc)

    with ThreadPoolExecutor(2) as pool:
        answers = dict(zip(wanted, pool.map(decide, wanted), strict=True))
    [winner] = [arn for arn, answer in answers.items() if answer == "decided"]
    [told] = [answer for arn, answer in answers.items() if arn != winner]
    assert told.startswith(f"{winner} has decided to {wanted[winner][0]} 3 records")
    assert [event.kind for event in api.store.events(CASE)].count("decided") == 1


def routes(method: str) -> list[str]:
    found = [*cases_api.app._static_routes, *cases_api.app._dynamic_routes]
    return sorted(route.path for route in found if method in route.method)


def test_no_get_changes_anything(api: Api) -> None:
    assert routes("GET") == ["/cases", "/cases/<case_id>", "/cases/<case_id>/records"]
    before = api.stored()
    for path in routes("GET"):
        for name in (CASE, "f" * 16 + "-1", "nonsense"):
            for arn in (ALICE, STRANGER, None):
                status, _ = api.call("GET", path.replace("<case_id>", name), arn=arn)
                assert status in (200, 403, 404)
    assert api.stored() == before


def test_nothing_but_a_signature_says_who_asks(api: Api) -> None:
    digest = api.digest("keep")
    assert api.decide("keep", digest, None)[0] == 403
    assert api.post("decisions", {"action": "keep", "digest": digest, "reason": "x", "by": BOB})[0] == 400
    assert api.decide("keep", digest)[1]["case"]["decision"]["by"]["arn"] == ALICE


def with_case(api: Api, **changes: Any) -> None:
    case = api.store.case(CASE)
    assert case is not None
    assert api.store.commit(CaseChange(replace(case, revision=case.revision + 1, **changes)))


def expired(api: Api) -> str:
    digest = api.digest("keep")
    with_case(api, status=CaseStatus.EXPIRED)
    return digest


def decided(api: Api) -> str:
    digest = api.digest("keep")
    assert api.decide("keep", digest, BOB)[0] == 200
    return digest


def proposed(api: Api) -> str:
    digest = api.digest("edit", patch=PATCH)
    assert api.decide("edit", digest, patch=PATCH)[0] == 200
    return digest


def none(_: Api) -> str:
    return "0" * 64


def fresh(api: Api) -> str:
    return api.digest("keep")


REFUSED: list[tuple[Callable[[Api], str], dict[str, Any], int, str]] = [
    (none, {}, 409, "StaleDigest"),
    (decided, {}, 409, "AlreadyDecided"),
    (expired, {}, 410, "CaseExpired"),
    (fresh, {"arn": None}, 403, "NotSigned"),
    (fresh, {"arn": STRANGER}, 403, "NotAnApprover"),
    (proposed, {"action": "edit"}, 409, "SelfApproval"),
    (none, {"action": "edit", "patch": [{"op": "add"}]}, 422, "InvalidPatch"),
    (none, {"action": "edit", "patch": [{"op": "remove", "path": "/zz"}]}, 422, "PatchFails"),
    (none, {"action": "edit", "patch": [{"op": "replace", "path": "", "value": {}}]}, 422, "EmptyPayload"),
    (
        none,
        {
            "action": "edit",
            "patch": [{"op": "add", "path": "/x", "value": ["x" * 100_000]}]
            + [{"op": "copy", "from": "/x/0", "path": "/x/-"}] * 11,
        },
        422,
        "PayloadTooLarge",
    ),
    (none, {"action": "edit", "patch": [{"op": "remove", "path": "/a"}, *PATCH]}, 422, "SchemaStillBroken"),
    (fresh, {"reason": "  "}, 400, "ReasonMissing"),
    (none, {"only": [record(99)]}, 404, "UnknownRecord"),
]


@pytest.mark.parametrize(("prepare", "fields", "status", "name"), REFUSED, ids=[case[3] for case in REFUSED])
def test_a_refusal_has_its_status_changes_nothing_and_is_kept(
    api: Api, prepare: Callable[[Api], str], fields: dict[str, Any], status: int, name: str
) -> None:
    digest = prepare(api)
    before = api.stored(events=False)
    found, answer = api.decide(**{"action": "keep", "digest": digest, **fields})
    assert (found, answer["error"]) == (status, name), answer
    assert set(answer) == {"error", "message"}
    assert api.stored(events=False) == before
    assert api.denials() == [name]


def test_an_unknown_case_is_a_404_and_is_kept_too(api: Api) -> None:
    status, answer = api.call("POST", "/cases/ffffffffffffffff-1/decisions", {"action": "keep", "digest": "0" * 64})
    assert (status, answer["error"]) == (404, "UnknownCase")
    assert any("AUDIT#" in item and "UnknownCase" in item for item in api.stored()[0])


@pytest.mark.parametrize(
    ("what", "body", "message"),
    [
        ("plans", "", "no JSON"),
        ("plans", "[]", "must be object"),
        ("plans", "{", "no JSON"),
        ("plans", '{"action":"keep","action":"redrive"}', "stands twice"),
        ("plans", '{"action":NaN}', "NaN"),
        ("plans", {}, "action"),
        ("plans", {"action": "delete"}, "one of"),
        ("plans", {"action": "keep", "by": ALICE}, "by"),
        ("plans", {"action": "keep", "only": ["1"]}, "pattern"),
        ("plans", {"action": "keep", "only": [record(1), record(1)]}, "unique"),
        ("plans", {"action": "edit", "only": [record(1)], "replacement": "%"}, "base64"),
        ("decisions", {"action": "keep", "digest": "short"}, "digest"),
        ("decisions", {"action": "keep", "digest": "0" * 64, "reason": 7}, "reason"),
        ("notes", {"text": "a\x1b[2J"}, "U+001B"),
        ("notes", {"text": "x" * 4001}, "4000"),
        ("views", {"record": "../x"}, "record"),
        ("plans", "[" * 100_000, "no JSON"),
    ],
)
def test_a_malformed_request_is_a_400_that_says_what_is_wrong(api: Api, what: str, body: Any, message: str) -> None:
    before = api.stored(events=False)
    status, answer = api.post(what, body)
    assert (status, answer["error"]) == (400, "MalformedRequest")
    assert message in answer["message"]
    assert api.stored(events=False) == before


@pytest.mark.parametrize(
    "query", [{"limit": "0"}, {"limit": "101"}, {"limit": "ten"}, {"limit": "٣"}, {"everything": "1"}, {"every": "yes"}]
)
def test_a_malformed_query_is_a_400(api: Api, query: dict[str, str]) -> None:
    assert api.call("GET", "/cases", query=query)[0] == 400


def test_a_body_over_the_limit_is_a_413(api: Api) -> None:
    status, answer = api.post("notes", {"text": "x" * MAX_BODY_BYTES})
    assert (status, answer["error"]) == (413, "RequestTooLarge")


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("DELETE", "/cases"), ("GET", f"/cases/{CASE}/decisions")])
def test_there_are_no_other_routes(api: Api, method: str, path: str) -> None:
    status, answer = api.call(method, path)
    assert (status, answer["error"]) == (404, "UnknownRoute")


def test_every_refusal_has_a_status() -> None:
    assert {refusal.__name__ for refusal in refusals.Refusal.__subclasses__()} == {r.__name__ for r in STATUS}


def test_a_busy_service_is_a_503_and_a_bug_a_500_that_quotes_nothing(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail_with(error: Exception) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr(DynamoCaseStore, "case", fail)

    fail_with(ServiceBusy("dynamodb"))
    assert api.call("GET", f"/cases/{CASE}")[0] == 503
    fail_with(ValueError("SECRET"))
    status, answer = api.call("GET", f"/cases/{CASE}")
    assert (status, answer["error"]) == (500, "InternalError")
    assert "SECRET" not in json.dumps(answer) + capsys.readouterr().out


def test_neither_token_nor_payload_is_in_an_answer_or_a_log(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    answers = [api.call("GET", path.replace("<case_id>", CASE)) for path in routes("GET")]
    answers.append(api.post("plans", {"action": "edit", "patch": PATCH}))
    answers += [api.decide("keep", api.digest("keep")), api.decide("keep", none(api))]
    api.post("views", {"record": record(1)})
    seen = json.dumps(answers) + capsys.readouterr().out + repr(api.store.events(CASE))
    assert TOKEN not in seen
    assert "SECRET" not in seen
    assert base64.b64encode(b'{"a":"SECRET"}').decode() not in seen
    assert "AlreadyDecided" in seen
